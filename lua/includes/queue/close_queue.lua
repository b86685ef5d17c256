-- count(queue, name, many): adds to a counter, written by close_queue.
local function count(queue, name, many)
  queue.counted[name] = (queue.counted[name] or 0) + many
end

-- write_tasks(conf, tasks): which tasks are paused, and which were; nothing when there are none.
local function write_tasks(conf, tasks)
  if next(tasks.paused) or #tasks.resuming > 0 then
    redis.call('HSET', conf, 'tasks', cmsgpack.pack(tasks))
  else
    redis.call('HDEL', conf, 'tasks')
  end
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
  if queue.tasks_changed then
    write_tasks(conf, queue.tasks)
  end
  for name, many in pairs(queue.counted) do
    redis.call('HINCRBY', conf, name, many)
  end
end
