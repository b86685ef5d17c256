#!lua flags=no-writes
--[[
read: how the cron jobs of a queue stand, without their definitions; changes nothing.
KEYS     1 cron   hash  name -> version, schedule, definition; the empty name -> count of changes
         2 ticks  hash  name -> last tick, wall ms
ARGV     1 now    us    empty: the server's time
RETURNS  now, wall ms; the count of changes; and names and last ticks, one after the other
COST     O(N), N the queue's cron jobs: 1,000 at most
]]
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
return { now, tonumber(redis.call('HGET', KEYS[1], '')) or 0, redis.call('HGETALL', KEYS[2]) }
