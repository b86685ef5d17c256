--- @include "queue/step_keys"
--- @include "queue/body"
--- @include "queue/close_queue"
--- @include "queue/meta"
--- @include "queue/places"
--- @include "queue/score"
-- Limits by key. A job of a key has a slot while it is pending or active, and one that finds none is held; whoever gives a slot
-- back hands it to the next one of the key, so a claim never meets a job that may not run. A slot needs no lease of its own: it
-- goes where the job goes.
-- The order among keys is start-time fair queueing (Goyal, Vin, Cheng 1996): each job is tagged with the virtual time at which its
-- key would have had its share, and the place among the pending is the tag. A key that has nothing owes nothing.

-- What a job's own terms say counts when it asks for its slot, and nothing else of it before: `tokens` are those of wall ms `at`, by
-- whoever asked then.
local FULL, TURNS = 65535, 20

local function read_slots(queue, key)
  local slots = { given = 0, wanted = 0, tag = 0, tokens = FULL, at = queue.now }
  local packed = redis.call('HGET', LIMITS, key)
  if packed then
    slots.given, slots.wanted, slots.tag, slots.tokens, slots.at = struct.unpack('<IIddd', packed)
  end
  return slots
end

local function refill(queue, limit, slots)
  if limit.count > 0 then
    local passed = math.max(0, queue.now - slots.at)
    slots.tokens = math.min(limit.count, slots.tokens + passed * limit.count / limit.period)
    slots.at = queue.now
  end
end

-- write_slots(queue, key, limit, slots): keeps them for as long as they say more than nothing would. `limit`: the terms of who is
-- next, or of the last one if nobody is held; nil, not known or not changed.
local function write_slots(queue, key, limit, slots)
  local rate = limit and limit.count or 0
  if rate > 0 then
    refill(queue, limit, slots)
  end
  if slots.given == 0 and slots.wanted == 0 and (rate == 0 or slots.tokens >= rate) then
    redis.call('HDEL', LIMITS, key)
    redis.call('ZREM', RATES, key)
    return
  end
  redis.call('HSET', LIMITS, key, struct.pack('<IIddd', slots.given, slots.wanted, slots.tag, slots.tokens, slots.at))
  if rate == 0 then
    return
  end
  local missing = 0
  if slots.wanted > 0 then
    missing = 1 - slots.tokens
  elseif slots.given == 0 then
    missing = rate - slots.tokens
  end
  if missing > 0 then
    redis.call('ZADD', RATES, queue.now + math.ceil(missing * limit.period / rate), key)
  else
    -- Somebody's end brings the next one its slot, not time.
    redis.call('ZREM', RATES, key)
  end
end

local function may_run(queue, limit, slots)
  refill(queue, limit, slots)
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

-- AFTER_KEY: greater than all that comes after a key in a member.
local AFTER_KEY = string.rep('\255', 25)

local function first_held(key, many)
  return redis.call('ZRANGEBYLEX', HELD, '[' .. key, '(' .. key .. AFTER_KEY, 'LIMIT', 0, many)
end

-- goes_first(queue, key, member, score): whether a job that has just become held is the first of its key. Of many that come in one call
-- the first of the key is looked up once: `queue.firsts` has its score until somebody leaves.
local function goes_first(queue, key, member, score)
  local known = queue.firsts and queue.firsts[key]
  if known and score > known then
    return false
  end
  local first = first_held(key, 1)[1]
  queue.firsts = queue.firsts or {}
  queue.firsts[key] = struct.unpack('>d', first, 17)
  return first == member
end

-- grant(queue, key, limit, slots): makes held jobs of a key pending, in their order, for as long as the key allows; how many.
-- `limit`: the terms of the job that has left, nil none.
local function grant(queue, key, limit, slots)
  queue.firsts = nil
  local granted, turns = 0, 0
  -- Most often one has left: the next one gets its slot, and the one after that says what the key is to wait for.
  local members, bodies, at = {}, {}, 0
  while slots.wanted > 0 and turns < TURNS do
    turns, at = turns + 1, at + 1
    if not members[at] then
      members, at = first_held(key, turns == 1 and 2 or TURNS), 1
      if #members == 0 then
        slots.wanted = 0
        break
      end
      local ids = {}
      for index, member in ipairs(members) do
        ids[index] = string.sub(member, 25)
      end
      bodies = redis.call('HMGET', BODY, unpack(ids))
    end
    local member, body = members[at], bodies[at]
    local id = string.sub(member, 25)
    if body then
      limit = read_limit(body)
      if not may_run(queue, limit, slots) then
        break
      end
      give_slot(limit, slots)
      local meta = unpack_meta(redis.call('HGET', META, id))
      meta.flags, meta.at = LIMITED, queue.now
      places.add_pending({ meta.score, id })
      redis.call('HSET', META, id, pack_meta(meta))
      granted = granted + 1
    else
      -- Its job is gone, and nobody may wait behind it for ever.
      redis.call('HDEL', META, id)
    end
    redis.call('ZREM', HELD, member)
    slots.wanted = slots.wanted - 1
  end
  write_slots(queue, key, limit, slots)
  if turns == TURNS and slots.wanted > 0 then
    -- The next step goes on.
    redis.call('ZADD', RATES, queue.now, key)
  end
  return granted
end

-- admit(queue, id, body, meta, limit): gives a job of a key its tag, and makes it pending or holds it; true when an idle worker
-- should hear of that.
local function admit(queue, id, body, meta, limit)
  local key, slots = limit.key, read_slots(queue, limit.key)
  local _, priority = read_head(body)
  local live, weight = slots.given + slots.wanted, math.max(1, limit.weight)
  slots.tag = math.max(queue.virtual, math.min(slots.tag, queue.virtual + live / weight)) + 1 / weight
  meta.score, meta.at, meta.fence, meta.hard, meta.worker = pending_score(priority, slots.tag), queue.now, 0, 0, NOBODY
  meta.flags = LIMITED
  if slots.wanted == 0 and may_run(queue, limit, slots) then
    give_slot(limit, slots)
    redis.call('HSET', META, id, pack_meta(meta))
    places.add_pending({ meta.score, id })
    write_slots(queue, key, limit, slots)
    return true
  end
  local member = held_member(key, meta.score, id)
  slots.wanted = slots.wanted + 1
  meta.flags = LIMITED + WAITS
  redis.call('HSET', META, id, pack_meta(meta))
  redis.call('ZADD', HELD, 0, member)
  if slots.wanted == 1 then
    write_slots(queue, key, limit, slots)
    return limit.count > 0 and slots.tokens < 1
  end
  if goes_first(queue, key, member, meta.score) then
    -- It goes before those that wait, and for its own terms there may be room.
    return grant(queue, key, limit, slots) > 0
  end
  write_slots(queue, key, nil, slots)
  return false
end

-- task_key(task): the key by which jobs of a paused task are held.
local function task_key(task)
  return string.sub(redis.sha1hex('task:' .. task), 1, 16)
end

-- give_up(queue, id, meta): takes the slot, or the wait for one, from a job that is pending, active or held no more, and hands on
-- what that leaves.
local function give_up(queue, id, meta)
  if not has_flag(meta, LIMITED) then
    if has_flag(meta, WAITS) then
      redis.call('ZREM', HELD, held_member(task_key(meta.reason), meta.score, id))
    end
    return
  end
  local body = redis.call('HGET', BODY, id)
  local limit = body and read_limit(body)
  if not limit then
    return
  end
  local slots = read_slots(queue, limit.key)
  if has_flag(meta, WAITS) then
    slots.wanted = math.max(0, slots.wanted - 1)
    redis.call('ZREM', HELD, held_member(limit.key, meta.score, id))
  else
    slots.given = math.max(0, slots.given - 1)
  end
  queue.granted = (queue.granted or 0) + grant(queue, limit.key, limit, slots)
end

-- grant_by_time(queue): what waits for its rate, up to 20 keys.
local function grant_by_time(queue)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', RATES, '-inf', queue.now, 'LIMIT', 0, 20)) do
    redis.call('ZREM', RATES, key)
    grant(queue, key, nil, read_slots(queue, key))
  end
end
