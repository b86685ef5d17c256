-- count(queue, name, many): adds to a counter, written by close_queue.
local function count(queue, name, many)
  queue.counted[name] = (queue.counted[name] or 0) + many
end

-- close_queue(queue, conf): writes the clocks and the counters back.
local function close_queue(queue, conf)
  redis.call(
    'HSET', conf, 'clock', queue.clock, 'seen', queue.now, 'fence', queue.fence, 'run', queue.run, 'quiet', queue.quiet,
    'virtual', queue.virtual
  )
  if queue.has_resumed then
    redis.call('HDEL', conf, 'paused', 'resumes_at', 'reason')
  end
  for name, many in pairs(queue.counted) do
    redis.call('HINCRBY', conf, name, many)
  end
end
