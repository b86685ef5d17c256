--- @include "queue/step_keys"
--- @include "queue/body"
--- @include "queue/close_queue"
--- @include "queue/meta"
--- @include "queue/score"
-- Limits by key. A job of a key has a slot while it is pending or active, and one that finds none is held; whoever gives a slot
-- back hands it to the next one of the key, so a claim never meets a job that may not run. A slot needs no lease of its own: it
-- goes where the job goes.
-- The order among keys is start-time fair queueing (Goyal, Vin, Cheng 1996): each job is tagged with the virtual time at which its
-- key would have had its share, and the place among the pending is the tag. A key that has nothing owes nothing.

local function read_slots(queue, limit)
  local packed = redis.call('HGET', LIMITS, limit.key)
  local slots = { given = 0, wanted = 0, tag = 0, tokens = limit.count, at = queue.now }
  if packed then
    slots.given, slots.wanted, slots.tag, slots.tokens, slots.at = struct.unpack('<IIddd', packed)
  end
  if limit.count > 0 then
    local passed = math.max(0, queue.now - slots.at)
    slots.tokens = math.min(limit.count, slots.tokens + passed * limit.count / limit.period)
  end
  slots.at = queue.now
  return slots
end

-- write_slots(queue, limit, slots): keeps them for as long as they say more than nothing would.
local function write_slots(queue, limit, slots)
  local is_full = limit.count == 0 or slots.tokens >= limit.count
  if slots.given == 0 and slots.wanted == 0 and is_full then
    redis.call('HDEL', LIMITS, limit.key)
    redis.call('ZREM', RATES, limit.key)
    return
  end
  redis.call('HSET', LIMITS, limit.key, struct.pack('<IIddd', slots.given, slots.wanted, slots.tag, slots.tokens, slots.at))
  if limit.count > 0 then
    local missing = slots.wanted > 0 and 1 - slots.tokens or limit.count - slots.tokens
    redis.call('ZADD', RATES, queue.now + math.max(1, math.ceil(missing * limit.period / limit.count)), limit.key)
  end
end

local function may_run(limit, slots)
  return (limit.most == 0 or slots.given < limit.most) and (limit.count == 0 or slots.tokens >= 1)
end

local function give_slot(limit, slots)
  slots.given = slots.given + 1
  if limit.count > 0 then
    slots.tokens = slots.tokens - 1
  end
end

-- held_member(key, score, id): sorts by key, then by place.
local function held_member(key, score, id)
  return key .. struct.pack('>d', score) .. id
end

-- admit(queue, id, body, meta): gives a job of a key its tag, and makes it pending or holds it; true when it is pending.
local function admit(queue, id, body, meta, limit)
  local slots = read_slots(queue, limit)
  local _, priority = read_head(body)
  local live, weight = slots.given + slots.wanted, math.max(1, limit.weight)
  slots.tag = math.max(queue.virtual, math.min(slots.tag, queue.virtual + live / weight)) + 1 / weight
  meta.score, meta.at, meta.fence, meta.hard, meta.worker = pending_score(priority, slots.tag), queue.now, 0, 0, NOBODY
  meta.flags = LIMITED
  -- Nobody overtakes one of its own key that is held already.
  local runs = slots.wanted == 0 and may_run(limit, slots)
  if runs then
    give_slot(limit, slots)
    redis.call('ZADD', PENDING, meta.score, id)
  else
    slots.wanted = slots.wanted + 1
    meta.flags = LIMITED + WAITS
    redis.call('ZADD', HELD, 0, held_member(limit.key, meta.score, id))
  end
  redis.call('HSET', META, id, pack_meta(meta))
  write_slots(queue, limit, slots)
  return runs
end

-- grant(queue, key): makes held jobs of a key pending for as long as the key allows; how many.
local function grant(queue, key, returned)
  local granted = 0
  for _ = 1, 20 do
    local member = redis.call('ZRANGEBYLEX', HELD, '[' .. key, '(' .. key .. string.rep('\255', 25), 'LIMIT', 0, 1)[1]
    local id = member and string.sub(member, 25)
    local body = id and redis.call('HGET', BODY, id)
    if id and not body then
      -- Its job is gone, and nobody may wait behind it for ever.
      redis.call('ZREM', HELD, member)
      redis.call('HDEL', META, id)
    end
    local limit = body and read_limit(body) or returned
    if not limit then
      return granted
    end
    local slots = read_slots(queue, limit)
    if returned then
      slots.given = math.max(0, slots.given - 1)
    end
    local runs = body and may_run(limit, slots)
    if runs then
      local meta = unpack_meta(redis.call('HGET', META, id))
      slots.wanted = math.max(0, slots.wanted - 1)
      give_slot(limit, slots)
      meta.flags = LIMITED
      redis.call('ZREM', HELD, member)
      redis.call('ZADD', PENDING, meta.score, id)
      redis.call('HSET', META, id, pack_meta(meta))
      granted = granted + 1
    end
    write_slots(queue, limit, slots)
    returned = nil
    if not runs then
      return granted
    end
  end
  return granted
end

-- give_up(queue, id, meta): takes the slot, or the wait for one, from a job that is pending, active or held no more.
local function give_up(queue, id, meta)
  if not has_flag(meta, LIMITED) then
    return
  end
  local body = redis.call('HGET', BODY, id)
  local limit = body and read_limit(body)
  if not limit then
    return
  end
  if has_flag(meta, WAITS) then
    local slots = read_slots(queue, limit)
    slots.wanted = math.max(0, slots.wanted - 1)
    redis.call('ZREM', HELD, held_member(limit.key, meta.score, id))
    write_slots(queue, limit, slots)
  else
    queue.granted = (queue.granted or 0) + grant(queue, limit.key, limit)
  end
end

-- grant_by_time(queue): what waits for its rate, up to 20 keys.
local function grant_by_time(queue)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', RATES, '-inf', queue.now, 'LIMIT', 0, 20)) do
    redis.call('ZREM', RATES, key)
    local packed = redis.call('HGET', LIMITS, key)
    if packed then
      local given, wanted = struct.unpack('<II', packed)
      if given == 0 and wanted == 0 then
        redis.call('HDEL', LIMITS, key)
      else
        grant(queue, key)
      end
    end
  end
end
