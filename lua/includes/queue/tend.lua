--- @include "queue/moves"
-- tend(queue, max_lost): moves on what nobody asks for: expired leases, jobs that are due, entries past their age.
local PROMOTED, REAPED, AGED = 64, 20, 20
local DAY = 86400000
local DEAD_KEPT, DEAD_DAYS, CANCELLED_DAYS, PARKED_DAYS = 10000, 90, 1, 7

local function reap(queue, max_lost)
  if queue.clock < queue.quiet then
    return
  end
  local ids = redis.call('ZRANGEBYSCORE', ACTIVE, '-inf', queue.clock, 'LIMIT', 0, REAPED)
  if #ids == 0 then
    return
  end
  local metas = redis.call('HMGET', META, unpack(ids))
  redis.call('ZREM', ACTIVE, unpack(ids))
  for index, id in ipairs(ids) do
    local meta = unpack_meta(metas[index])
    if redis.call('HEXISTS', BODY, id) == 0 then
      forget(id)
    elseif has_flag(meta, CANCELLING) or has_flag(meta, STOPPING) then
      count(queue, 'lost', 1)
      call_off(queue, id, meta)
    else
      count(queue, 'lost', 1)
      meta.lost = has_flag(meta, SUSPECT) and meta.lost + 1 or math.max(meta.lost, 1)
      if meta.lost >= max_lost then
        bury(queue, id, meta, 'poison', string.format('lost %d leases', meta.lost))
      else
        suspect(queue, id, meta)
      end
    end
  end
end

local function promote(queue, set)
  local due = redis.call('ZRANGEBYSCORE', set, '-inf', queue.now, 'WITHSCORES', 'LIMIT', 0, PROMOTED)
  if #due == 0 then
    return
  end
  local ids, pending = {}, {}
  for index = 1, #due, 2 do
    ids[#ids + 1] = due[index]
  end
  local bodies = redis.call('HMGET', BODY, unpack(ids))
  redis.call('ZREM', set, unpack(ids))
  for index, id in ipairs(ids) do
    local body = bodies[index]
    if not body then
      forget(id)
    elseif read_limit(body) then
      set_off(queue, id, body, unpack_meta(redis.call('HGET', META, id)), queue.now)
    else
      local _, priority = read_head(body)
      pending[#pending + 1] = pending_score(priority, tonumber(due[index * 2]))
      pending[#pending + 1] = id
    end
  end
  if #pending > 0 then
    redis.call('ZADD', PENDING, unpack(pending))
  end
end

-- leave_behind(queue, set, before, most): the oldest of a set, removed from it.
local function leave_behind(set, before, most)
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', before, 'LIMIT', 0, most)
  if #ids > 0 then
    redis.call('ZREM', set, unpack(ids))
  end
  return ids
end

local function age_out(queue)
  local most = AGED
  local function drop(ids)
    for _, id in ipairs(ids) do
      forget(id)
    end
    most = most - #ids
    if #ids > 0 then
      count(queue, 'expired', #ids)
    end
  end
  drop(leave_behind(COMPLETED, queue.now, most))
  drop(leave_behind(CANCELLED, queue.now - CANCELLED_DAYS * DAY, most))
  drop(leave_behind(DEAD, queue.now - DEAD_DAYS * DAY, most))
  local excess = redis.call('ZCARD', DEAD) - DEAD_KEPT
  if excess > 0 and most > 0 then
    drop(leave_behind(DEAD, '+inf', math.min(excess, most)))
  end
  for _, id in ipairs(leave_behind(PARKED, queue.now - PARKED_DAYS * DAY, most)) do
    local meta = unpack_meta(redis.call('HGET', META, id))
    bury(queue, id, meta, 'unknown', 'no worker knew the task type ' .. meta.reason)
  end
end

local function tend(queue, max_lost)
  reap(queue, max_lost)
  promote(queue, SCHEDULED)
  promote(queue, RETRY)
  grant_by_time(queue)
  age_out(queue)
end
