--- @include "queue/step_keys"
--- @include "queue/body"
--- @include "queue/close_queue"
--- @include "queue/limits"
--- @include "queue/meta"
--- @include "queue/outbox"
--- @include "queue/places"
--- @include "queue/score"
--- @include "queue/unique_key"
-- How a job gets into the state that it is in next. Each leaves its old state to the caller.

-- drop_parts(id): removes what is known of the parts of a job.
local function drop_parts(id)
  local packed = redis.call('HGET', PARTS, id)
  if packed then
    local fields = { id, id .. 'b', id .. 's' }
    for index = 0, struct.unpack('<H', packed) - 1 do
      fields[#fields + 1] = id .. struct.pack('<H', index)
    end
    redis.call('HDEL', PARTS, unpack(fields))
  end
end

-- forget(queue, id, body): removes every trace of a job that has left its last state. `body`: as stored, false when there is none.
local function forget(queue, id, body)
  local bytes = redis.call('HSTRLEN', RESULT, id) + (body and #body or 0)
  if not body or is_set(string.byte(body, 1), IS_LARGE) then
    bytes = bytes + redis.call('HSTRLEN', LARGE_BODY, id)
  end
  count(queue, 'bytes', -bytes)
  redis.call('HDEL', BODY, id)
  redis.call('HDEL', LARGE_BODY, id)
  redis.call('HDEL', META, id)
  redis.call('HDEL', RESULT, id)
  drop_parts(id)
end

-- leave_dead(queue, packed): a job leaves the dead letters, whose bytes are counted.
local function leave_dead(queue, packed)
  if packed then
    count(queue, 'dead_bytes', -(bytes_of(packed) + #packed))
  end
end

-- bury(queue, id, meta, reason, error): makes it a dead letter.
local function bury(queue, id, meta, reason, error)
  report(queue, id, 1, string.sub(reason .. ': ' .. error, 1, 1024))
  give_up(queue, id, meta)
  release_unique(UNIQUE, meta.unique, id)
  meta.reason, meta.error, meta.at, meta.fence, meta.flags = string.sub(reason, 1, 255), string.sub(error, 1, 1024), queue.now, 0, 0
  local packed = pack_meta(meta)
  redis.call('HSET', META, id, packed)
  redis.call('ZADD', DEAD, queue.now, id)
  count(queue, 'dead_bytes', bytes_of(packed) + #packed)
  count(queue, 'dead', 1)
end

-- call_off(queue, id, meta): ends it as cancelled.
local function call_off(queue, id, meta)
  report(queue, id, 2, 'cancelled')
  give_up(queue, id, meta)
  release_unique(UNIQUE, meta.unique, id)
  meta.at, meta.fence, meta.flags = queue.now, 0, 0
  redis.call('HSET', META, id, pack_meta(meta))
  redis.call('ZADD', CANCELLED, queue.now, id)
  count(queue, 'cancelled', 1)
end

-- await(queue, id, meta, set, due): lets it wait until `due` in `set`, scheduled or retry.
local function await(queue, id, meta, set, due)
  give_up(queue, id, meta)
  meta.at, meta.fence, meta.hard, meta.worker, meta.flags = queue.now, 0, 0, NOBODY, 0
  redis.call('HSET', META, id, pack_meta(meta))
  redis.call('ZADD', set, due, id)
  if set ~= PARKED then
    queue.earliest = math.min(queue.earliest or due, due)
  end
end

-- keep_limited(queue, meta): of the flags only that the job has a key, and with it a slot; its place does not tell since when.
local function keep_limited(queue, meta)
  if has_flag(meta, LIMITED) then
    meta.flags, meta.at = LIMITED, queue.now
  else
    meta.flags = 0
  end
end

-- suspect(queue, id, meta): puts a job that has lost a lease where each process takes at most one from.
local function suspect(queue, id, meta)
  meta.fence, meta.hard, meta.worker = 0, 0, NOBODY
  keep_limited(queue, meta)
  redis.call('HSET', META, id, pack_meta(meta))
  places.add_suspect(meta.score, id)
  queue.has_new_suspects = true
end

-- restart(queue, id, meta): makes a job pending that was active, with what is known of it if that is more than of a plain one.
local function restart(queue, id, meta)
  keep_limited(queue, meta)
  if meta.attempts > 0 or meta.flags > 0 then
    meta.fence, meta.hard, meta.worker = 0, 0, NOBODY
    redis.call('HSET', META, id, pack_meta(meta))
  else
    redis.call('HDEL', META, id)
  end
  places.add_pending({ meta.score, id })
end

-- set_off(queue, id, body, meta, ready): makes a job pending that was not active, or holds it; `ready`: wall ms since when.
local function set_off(queue, id, body, meta, ready)
  local limit = read_limit(body)
  if limit then
    admit(queue, id, body, meta, limit)
    return
  end
  local _, priority = read_head(body)
  meta.score = pending_score(priority, ready)
  restart(queue, id, meta)
end
