-- The rate of a queue as a whole: a bucket of `rate` tokens that is full again after `period`; each job that begins takes one.

-- tokens_now(queue): how many jobs may begin now.
local function tokens_now(queue)
  local rate = queue.settings.rate
  if rate == 0 then
    return math.huge
  end
  if not queue.tokens then
    return rate
  end
  local tokens, at = struct.unpack('<dd', queue.tokens)
  return math.min(rate, tokens + math.max(0, queue.now - at) * rate / queue.settings.period)
end

-- take_tokens(queue, many): of jobs that begin.
local function take_tokens(queue, conf, many)
  if queue.settings.rate > 0 and many > 0 then
    queue.tokens = struct.pack('<dd', tokens_now(queue) - many, queue.now)
    redis.call('HSET', conf, 'tokens', queue.tokens)
  end
end

-- next_token(queue): wall ms from when another job may begin, 0: now.
local function next_token(queue)
  local tokens = tokens_now(queue)
  if tokens >= 1 then
    return 0
  end
  return queue.now + math.ceil((1 - tokens) * queue.settings.period / queue.settings.rate)
end
