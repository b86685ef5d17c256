#!lua
--[[
define: writes the definition of a cron job under the next version, when it is another one than the store has.
KEYS     1 cron         hash  name -> version, schedule, definition; the empty name -> count of changes
         2 ticks        hash  name -> last tick, wall ms
ARGV     1 now          us    empty: the server's time
         2 name         text
         3 expected     int   version that the caller has read, 0: none yet; -1: whatever is there
         4 schedule     text  what says when: another one than before knows no tick that was missed
         5 definition   text
RETURNS  1 when it was written, 0 when it is there already, -1 when the version is another one, -2 when there are 1,000 of other
         names; and the version that is there now
COST     O(1)
]]
local name, expected, schedule, definition = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if name == '' or not expected then
  return redis.error_reply('INVALID cron: a name and a version are expected')
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local stored = redis.call('HGET', KEYS[1], name)
local version, former = 0, nil
if stored then
  local length
  version, length = struct.unpack('<dI', stored)
  former = string.sub(stored, 13, 12 + length)
  if former == schedule and string.sub(stored, 13 + length) == definition then
    return { 0, version }
  end
end
if expected >= 0 and expected ~= version then
  return { -1, version }
end
if not stored and redis.call('HLEN', KEYS[1]) > 1000 then
  return { -2, 0 }
end
-- Counted over all names, so that a version never comes twice: nobody takes a definition for the one that was removed.
version = redis.call('HINCRBY', KEYS[1], '', 1)
redis.call('HSET', KEYS[1], name, struct.pack('<dI', version, #schedule) .. schedule .. definition)
if former ~= schedule then
  local last = tonumber(redis.call('HGET', KEYS[2], name)) or 0
  redis.call('HSET', KEYS[2], name, string.format('%d', math.max(last, now)))
end
return { 1, version }
