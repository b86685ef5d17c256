--- @include "queue/moves"
--- @include "queue/state_of"
-- A job that waits for its parts. What is known of them, under its id: parts in all, parts that have not reported, failed ones, whether
-- one that fails fails the job, whether it was stopped, and the round, the fence under which the job was split; then a byte for each
-- part: 0 it has not reported, else 1 more than its outcome. Under the id and `b` the job's body for when they have ended, under the
-- id and `s` what tells them to stop, under the id and an index (u16) what that part has left: a result, or why it failed.
local SPLIT_HEAD, SPLIT_LENGTH = '<HHHBBd', 16

local function read_split(id)
  local packed = redis.call('HGET', PARTS, id)
  if not packed then
    return nil
  end
  local split = {}
  split.total, split.left, split.failed, split.fails, split.stopped, split.round = struct.unpack(SPLIT_HEAD, packed)
  split.states = string.sub(packed, SPLIT_LENGTH + 1)
  return split
end

local function write_split(id, split)
  local head = struct.pack(SPLIT_HEAD, split.total, split.left, split.failed, split.fails, split.stopped, split.round)
  redis.call('HSET', PARTS, id, head .. split.states)
end

-- stop_parts(queue, id): has the parts told to stop that have not ended.
local function stop_parts(queue, id)
  local stops = redis.call('HGET', PARTS, id .. 's')
  if stops then
    post_all(queue, stops)
  end
end

-- join(queue, id): all parts have ended, and the job runs again, with another body.
local function join(queue, id)
  local body, rest = redis.call('HGET', BODY, id), redis.call('HGET', PARTS, id .. 'b')
  redis.call('ZREM', BLOCKED, id)
  if not body or not rest then
    forget(queue, id, body)
    return
  end
  local flags, bytes = string.byte(body, 1), #rest - #body
  local head = string.sub(body, 2, head_length(body))
  if is_set(flags, IS_LARGE) then
    flags, bytes = flags - IS_LARGE, bytes - redis.call('HSTRLEN', LARGE_BODY, id)
    redis.call('HDEL', LARGE_BODY, id)
  end
  if not is_set(flags, IS_JOINED) then
    flags = flags + IS_JOINED
  end
  if #rest >= 16384 then
    flags = flags + IS_LARGE
    redis.call('HSET', LARGE_BODY, id, rest)
    rest = ''
  end
  count(queue, 'bytes', bytes + 1 + #head)
  body = string.char(flags) .. head .. rest
  redis.call('HSET', BODY, id, body)
  redis.call('HDEL', PARTS, id .. 'b', id .. 's')
  local meta = unpack_meta(redis.call('HGET', META, id))
  meta.attempts, meta.lost, meta.error = 0, 0, ''
  set_off(queue, id, body, meta, queue.now)
  queue.has_joined = true
end

-- block(queue, id, meta, blob): lets a job wait for the parts that pack_split in queue_scripts.py packed.
local function block(queue, id, meta, blob)
  local fails, total, rest, stops, at = struct.unpack('<BHIc0Ic0', blob)
  drop_parts(id)
  write_split(id, {
    total = total, left = total, failed = 0, fails = fails, stopped = 0, round = meta.fence, states = string.rep('\0', total),
  })
  redis.call('HSET', PARTS, id .. 'b', rest, id .. 's', stops)
  post_all(queue, string.sub(blob, at))
  meta.lost = 0
  await(queue, id, meta, BLOCKED, queue.now)
  if total == 0 then
    join(queue, id)
  end
end

-- call_off_blocked(queue, id, meta): ends a job as cancelled that waits for its parts, and has these told.
local function call_off_blocked(queue, id, meta)
  stop_parts(queue, id)
  redis.call('HDEL', PARTS, id .. 'b', id .. 's')
  redis.call('ZREM', BLOCKED, id)
  call_off(queue, id, meta)
end

-- note_part(queue, id, part): what one part of the job has reported; what was known, or is of an earlier round, changes nothing.
local function note_part(queue, id, part)
  local split = read_split(id)
  if not split or split.round ~= part.round or string.byte(split.states, part.index + 1) ~= 0 then
    return
  end
  split.states = string.sub(split.states, 1, part.index) .. string.char(part.outcome + 1) .. string.sub(split.states, part.index + 2)
  split.left = split.left - 1
  if part.outcome ~= 0 then
    split.failed = split.failed + 1
  end
  write_split(id, split)
  if part.data ~= '' then
    redis.call('HSET', PARTS, id .. struct.pack('<H', part.index), part.data)
  end
  if not redis.call('ZSCORE', BLOCKED, id) then
    return
  end
  if part.outcome ~= 0 and split.fails == 1 and split.stopped == 0 then
    stop_parts(queue, id)
    redis.call('HDEL', PARTS, id .. 'b', id .. 's')
    redis.call('ZREM', BLOCKED, id)
    bury(queue, id, unpack_meta(redis.call('HGET', META, id)), 'part', string.format('part %d: ', part.index) .. part.data)
  elseif split.left == 0 then
    join(queue, id)
  end
end

-- stop(queue, id): keeps a job from starting, asks it to end if it runs, or stops its parts; its state now, empty when it is not there.
local function stop(queue, id)
  local name, set = state_of(id)
  if not name then
    return ''
  end
  local meta = unpack_meta(redis.call('HGET', META, id))
  if name == 'active' then
    if not has_flag(meta, STOPPING) then
      meta.flags = meta.flags + STOPPING
      redis.call('HSET', META, id, pack_meta(meta))
    end
  elseif name == 'blocked' then
    local split = read_split(id)
    if split then
      split.stopped = 1
      write_split(id, split)
      stop_parts(queue, id)
    end
  elseif name ~= 'completed' and name ~= 'dead' and name ~= 'cancelled' then
    meta.unique = select(3, read_head(redis.call('HGET', BODY, id)))
    if set ~= HELD then
      places.withdraw(set, id)
    end
    call_off(queue, id, meta)
    return 'cancelled'
  end
  return name
end
