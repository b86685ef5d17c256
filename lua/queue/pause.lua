#!lua flags=allow-oom
--[[
pause: stops or resumes claiming, all jobs of a queue or those of one task.
KEYS     1 conf       hash    clocks, pause, counters
         2 wake       list    at most one token for an idle worker
ARGV     1 now        us      empty: the server's time
         2 paused     int     1: pause, 0: resume
         3 reason     text
         4 after      ms      resume by itself after this, 0 never
         5 task       text    empty: all of them
RETURNS  1, or 0 when so many tasks are paused already that this one cannot be
COST     O(paused tasks)
]]
--- @include "queue/close_queue"
--- @include "queue/wake"
local MOST_TASKS = 100
local CONF, WAKE = KEYS[1], KEYS[2]
local paused, reason, after, task = ARGV[2] == '1', string.sub(ARGV[3], 1, 1024), tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local resumes_at = after > 0 and now + after or 0
if task ~= '' then
  local stored = redis.call('HGET', CONF, 'tasks')
  local tasks = stored and cmsgpack.unpack(stored) or { paused = {}, resuming = {} }
  local number, resuming = 0, {}
  for other in pairs(tasks.paused) do
    number = number + (other ~= task and 1 or 0)
  end
  for _, other in ipairs(tasks.resuming) do
    if other ~= task then
      resuming[#resuming + 1] = other
    end
  end
  if paused then
    if number >= MOST_TASKS then
      return 0
    end
    tasks.paused[task], tasks.resuming = { resumes_at, reason }, resuming
  elseif tasks.paused[task] then
    tasks.paused[task] = nil
    tasks.resuming[#tasks.resuming + 1] = task
  end
  write_tasks(CONF, tasks)
elseif paused then
  redis.call('HSET', CONF, 'paused', 1, 'resumes_at', resumes_at, 'reason', reason)
else
  redis.call('HDEL', CONF, 'paused', 'resumes_at', 'reason')
end
if not paused then
  wake_one(WAKE)
end
return 1
