#!lua flags=no-writes
--[[
definitions: what cron jobs are, changing nothing.
KEYS     1 cron   hash  name -> version, schedule, definition; the empty name -> count of changes
         2 ticks  hash  name -> last tick, wall ms
ARGV     1 name   text  1 to 100 times
RETURNS  for the first of them, as many as 256 KiB hold, one at least, in order: what is stored under the name, empty when nothing is
COST     O(count)
]]
local MOST_BYTES = 262144
if #ARGV < 1 or #ARGV > 100 then
  return redis.error_reply('INVALID names: 1 to 100 are expected')
end
local reply, bytes = {}, 0
for index, name in ipairs(ARGV) do
  local size = redis.call('HSTRLEN', KEYS[1], name)
  bytes = bytes + size
  if bytes > MOST_BYTES and index > 1 then
    break
  end
  reply[index] = size > 0 and redis.call('HGET', KEYS[1], name) or ''
end
return reply
