#!lua
--[[
note: writes a lock into the list of a stage's locks, and removes a few that have ended from it.
KEYS     1 locks  zset  name of a lock -> end of its hold, us
ARGV     1 now    us    empty: the server's time
         2 name   text
         3 until  us    end of the hold
RETURNS  how many that have ended were removed
COST     O(20 * log N)
]]
--- @include "lock/drop_ended"
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
return drop_ended(KEYS[1], ARGV[1], 20)
