#!lua flags=allow-oom
--[[
forget: removes a lock from the list, unless it has been taken again meanwhile.
KEYS     1 locks  zset  name of a lock -> end of its hold, us
ARGV     1 name   text
         2 until  us    end of the hold that is over
RETURNS  1 when it was removed, else 0
COST     O(log N)
]]
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) == tonumber(ARGV[2]) then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
