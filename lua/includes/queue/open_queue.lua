--- @include "queue/settings"
-- open_queue(conf, now, run): the queue's clocks and settings at this moment, from its `conf` hash; writes nothing.
-- `now` (us) and `run` replace the server's own clock and run id when a test passes them. The queue clock (ms) goes on by
-- ten seconds a call at most, and nobody's lease is reaped for ten seconds after time has jumped or the server is another:
-- those who hold leases must have had the chance to renew them.
local LONGEST_STEP, QUIET = 10000, 10000

local function open_queue(conf, now, run)
  local values = redis.call('HMGET', conf, 'clock', 'seen', 'fence', 'run', 'quiet', 'paused', 'resumes_at', 'virtual', 'settings', 'tokens', 'dead_bytes', 'tasks')
  local time = redis.call('TIME')
  local queue = { counted = {}, is_paused = values[6] == '1', resumes_at = tonumber(values[7]) or 0 }
  queue.settings, queue.tokens, queue.dead_bytes = read_settings(values[9]), values[10], tonumber(values[11]) or 0
  queue.tasks = values[12] and cmsgpack.unpack(values[12])
  queue.now_us = tonumber(now) or time[1] * 1000000 + time[2]
  queue.now = math.floor(queue.now_us / 1000)
  queue.run = run ~= '' and run or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  queue.clock = tonumber(values[1]) or queue.now
  queue.fence = tonumber(values[3]) or 0
  queue.quiet = tonumber(values[5]) or 0
  queue.virtual = tonumber(values[8]) or queue.now
  local elapsed = queue.now - (tonumber(values[2]) or queue.now)
  queue.clock = queue.clock + math.max(0, math.min(elapsed, LONGEST_STEP))
  if values[4] and values[4] ~= queue.run then
    -- A store that took over from another one, or came back, may have forgotten its last five seconds of fences.
    queue.fence = queue.fence + 5000000
    queue.quiet = queue.clock + QUIET
  elseif elapsed > LONGEST_STEP or elapsed < 0 then
    queue.quiet = queue.clock + QUIET
  end
  if queue.is_paused and queue.resumes_at > 0 and queue.resumes_at <= queue.now then
    queue.is_paused, queue.resumes_at = false, 0
    queue.has_resumed = true
  end
  return queue
end
