--- @include "queue/step_keys"
--- @include "queue/limits"
--- @include "queue/places_seen"
-- state_of(id): the name of the state that a job is in, and the set that says so; nil when the queue does not have it.
local STATES = {
  { 'scheduled', SCHEDULED }, { 'retry', RETRY }, { 'dead', DEAD }, { 'completed', COMPLETED }, { 'cancelled', CANCELLED },
  { 'parked', PARKED }, { 'blocked', BLOCKED },
}

-- is_waiting(id, packed): whether a job waits for a slot of its key, or for its task to be resumed.
local function is_waiting(id, packed)
  if not packed or not has_flag(unpack_meta(packed), WAITS) then
    return false
  end
  local meta = unpack_meta(packed)
  if not has_flag(meta, LIMITED) then
    return redis.call('ZSCORE', HELD, held_member(task_key(meta.reason), meta.score, id))
  end
  local body = redis.call('HGET', BODY, id)
  local limit = body and read_limit(body)
  return limit and redis.call('ZSCORE', HELD, held_member(limit.key, meta.score, id))
end

local function state_of(id)
  local name, place, placed = places.find(id)
  if name then
    return name, place, placed
  end
  for _, state in ipairs(STATES) do
    local score = redis.call('ZSCORE', state[2], id)
    if score then
      return state[1], state[2], tonumber(score)
    end
  end
  if is_waiting(id, redis.call('HGET', META, id)) then
    return 'held', HELD, 0
  end
  return nil
end
