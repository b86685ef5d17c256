#!lua flags=allow-oom
--[[
pause: stops or resumes claiming.
KEYS     1 conf       hash    clocks, pause, counters
         2 wake       list    at most one token for an idle worker
ARGV     1 now        us      empty: the server's time
         2 paused     int     1: pause, 0: resume
         3 reason     text
         4 after      ms      resume by itself after this, 0 never
RETURNS  nothing
COST     O(1)
]]
--- @include "queue/wake"
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], 'paused', 'resumes_at', 'reason')
  wake_one(KEYS[2])
  return 0
end
local time, after = redis.call('TIME'), tonumber(ARGV[4])
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
redis.call('HSET', KEYS[1], 'paused', 1, 'resumes_at', after > 0 and now + after or 0, 'reason', string.sub(ARGV[3], 1, 1024))
return 0
