--- @include "queue/moves"
--- @include "queue/tasks"
-- tend(queue, expired, max_lost): moves on what nobody asks for: the jobs whose leases have expired, jobs that are due, entries past
-- their age.
local PROMOTED, AGED, RAISED = 64, 20, 20

local function reap(queue, ids, max_lost)
  if #ids == 0 then
    return
  end
  local metas = redis.call('HMGET', META, unpack(ids))
  places.end_leases(ids)
  for index, id in ipairs(ids) do
    local meta = unpack_meta(metas[index])
    if redis.call('HEXISTS', BODY, id) == 0 then
      forget(queue, id, false)
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
      forget(queue, id, false)
    elseif read_limit(body) then
      set_off(queue, id, body, unpack_meta(redis.call('HGET', META, id)), queue.now)
    else
      local _, priority = read_head(body)
      pending[#pending + 1] = pending_score(priority, tonumber(due[index * 2]))
      pending[#pending + 1] = id
    end
  end
  if #pending > 0 then
    places.add_pending(pending)
  end
end

-- release_tasks(queue): some of the jobs that were held back until their task is resumed.
local function release_tasks(queue)
  local tasks = queue.tasks
  if not tasks then
    return
  end
  for task, pause in pairs(tasks.paused) do
    if pause[1] > 0 and pause[1] <= queue.now then
      resume_task(tasks, task)
      queue.tasks_changed = true
    end
  end
  table.sort(tasks.resuming)
  local task = tasks.resuming[1]
  if not task then
    return
  end
  local key = task_key(task)
  local members = redis.call('ZRANGEBYLEX', HELD, '[' .. key, '(' .. key .. string.rep('\255', 25), 'LIMIT', 0, RELEASED)
  for _, member in ipairs(members) do
    local id = string.sub(member, 25)
    local body = redis.call('HGET', BODY, id)
    redis.call('ZREM', HELD, member)
    if body then
      local meta = unpack_meta(redis.call('HGET', META, id))
      meta.flags, meta.reason = 0, ''
      if read_limit(body) then
        -- It asks for its slot anew, among those that are no suspects.
        meta.lost = 0
        set_off(queue, id, body, meta, queue.now)
      elseif meta.lost > 0 then
        suspect(queue, id, meta)
      else
        restart(queue, id, meta)
      end
    else
      redis.call('HDEL', META, id)
    end
  end
  if #members < RELEASED then
    table.remove(tasks.resuming, 1)
    queue.tasks_changed = true
  end
end

-- leave_behind(set, before, most): the oldest of a set, removed from it.
local function leave_behind(set, before, most)
  if most == 0 then
    return {}
  end
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', before, 'LIMIT', 0, most)
  if #ids > 0 then
    redis.call('ZREM', set, unpack(ids))
  end
  return ids
end

-- expire(queue, ids): forgets jobs that have left their last set; how many.
local function expire(queue, ids)
  if #ids > 0 then
    local bodies = redis.call('HMGET', BODY, unpack(ids))
    for index, id in ipairs(ids) do
      forget(queue, id, bodies[index])
    end
    count(queue, 'expired', #ids)
  end
  return #ids
end

-- surplus(set, kept, most): how many of a set are more than `kept` (0 any number), `most` at most.
local function surplus(set, kept, most)
  return kept > 0 and math.max(0, math.min(most, redis.call('ZCARD', set) - kept)) or 0
end

-- expire_dead(queue, most): the oldest dead letters, for as long as one is too old, or they are too many, or take too much.
local function expire_dead(queue, most)
  local settings, bytes = queue.settings, queue.dead_bytes + (queue.counted.dead_bytes or 0)
  local before = queue.now - settings.dead_age
  local excess = surplus(DEAD, settings.dead_count, most)
  local is_heavy = settings.dead_bytes > 0 and bytes > settings.dead_bytes
  local oldest = most > 0 and redis.call('ZRANGE', DEAD, 0, 0, 'WITHSCORES') or {}
  if #oldest == 0 or not (excess > 0 or is_heavy or tonumber(oldest[2]) <= before) then
    return 0
  end
  local found, ids = redis.call('ZRANGE', DEAD, 0, most - 1, 'WITHSCORES'), {}
  for index = 1, #found, 2 do
    if #ids >= excess and tonumber(found[index + 1]) > before and not (settings.dead_bytes > 0 and bytes > settings.dead_bytes) then
      break
    end
    local packed = redis.call('HGET', META, found[index])
    leave_dead(queue, packed)
    bytes = bytes - (packed and bytes_of(packed) + #packed or 0)
    ids[#ids + 1] = found[index]
  end
  redis.call('ZREM', DEAD, unpack(ids))
  return expire(queue, ids)
end

local function age_out(queue)
  local settings, most = queue.settings, AGED
  most = most - expire(queue, leave_behind(COMPLETED, queue.now, most))
  most = most - expire(queue, leave_behind(COMPLETED, '+inf', surplus(COMPLETED, settings.completed_count, most)))
  most = most - expire(queue, leave_behind(CANCELLED, queue.now - settings.cancelled_age, most))
  most = most - expire_dead(queue, most)
  for _, id in ipairs(leave_behind(PARKED, queue.now - settings.parked_age, most)) do
    local meta = unpack_meta(redis.call('HGET', META, id))
    bury(queue, id, meta, 'unknown', 'no worker knew the task type ' .. meta.reason)
  end
end

local function tend(queue, expired, max_lost)
  reap(queue, expired, max_lost)
  promote(queue, SCHEDULED)
  promote(queue, RETRY)
  grant_by_time(queue)
  release_tasks(queue)
  places.raise_old(queue, RAISED)
  age_out(queue)
end
