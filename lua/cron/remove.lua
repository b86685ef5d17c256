#!lua flags=allow-oom
--[[
remove: ends a cron job; jobs of it that are in the queue stay there.
KEYS     1 cron      hash  name -> version, schedule, definition; the empty name -> count of changes
         2 ticks     hash  name -> last tick, wall ms
ARGV     1 name      text
         2 expected  int   version that the caller has read; -1: whatever is there
RETURNS  1 when it was removed, 0 when there is none or it has another version
COST     O(1)
]]
local stored = ARGV[1] ~= '' and redis.call('HGET', KEYS[1], ARGV[1])
local expected = tonumber(ARGV[2])
if not stored or (expected >= 0 and struct.unpack('<d', stored) ~= expected) then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], '', 1)
return 1
