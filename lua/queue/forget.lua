#!lua flags=allow-oom
--[[
forget: entries that their outbox does not have any more need not be remembered for long.
KEYS     1 seen       zset    name of an entry that has arrived -> wall ms until when that is remembered
ARGV     1 now        us      empty: the server's time
         2 remember   ms      for whoever is late with the same entry
         3 name       17 bytes, 1 to 20 times
RETURNS  nothing
COST     O(count * log N)
]]
local remember = tonumber(ARGV[2])
if #ARGV < 3 or #ARGV > 22 or not remember then
  return redis.error_reply('INVALID names: 1 to 20 are expected')
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
for index = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + remember, ARGV[index])
end
return 0
