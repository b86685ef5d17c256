#!lua flags=no-writes
--[[
read: the cron jobs of a queue as they stand, changing nothing.
KEYS     1 cron   hash  name -> version, schedule, definition; the empty name -> count of changes
         2 ticks  hash  name -> last tick, wall ms
ARGV     1 now    us    empty: the server's time
         2 known  int   count of changes that the caller has seen, -1: none
RETURNS  now, wall ms; the count of changes; names and last ticks, one after the other; and names and what is stored under them,
         empty when the caller has seen the count
COST     O(N), N the queue's cron jobs: 1,000 at most
]]
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local changes = tonumber(redis.call('HGET', KEYS[1], '')) or 0
local stored = {}
if changes ~= tonumber(ARGV[2]) then
  stored = redis.call('HGETALL', KEYS[1])
end
return { now, changes, redis.call('HGETALL', KEYS[2]), stored }
