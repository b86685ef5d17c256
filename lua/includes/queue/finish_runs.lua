--- @include "queue/moves"
-- finish_runs(queue, worker, blob): carries out the finishes packed in `blob` (see pack_finishes in queue_scripts.py), in order;
-- for each 0 done, 1 stale, 2 cancelled. Ends that need nothing but removal are removed together.
local COMPLETE, AGAIN, SNOOZE, RELEASE, DIE, PARK, STOPPED = 0, 1, 2, 3, 4, 5, 6

local function read_finishes(blob)
  local finishes, ids, at = {}, {}, 1
  while at <= #blob do
    local finish = {}
    finish.kind, finish.id, finish.fence, finish.delay, finish.keep, finish.error, finish.result, finish.detail, at =
      struct.unpack('<Bc16dddHc0Ic0Bc0', blob, at)
    finishes[#finishes + 1] = finish
    ids[#ids + 1] = finish.id
  end
  return finishes, ids
end

local function finish_run(queue, finish, meta)
  local id, kind = finish.id, finish.kind
  if kind == COMPLETE then
    count(queue, 'completed', 1)
    release_unique(UNIQUE, meta.unique, id)
    if finish.keep > 0 then
      meta.at, meta.fence, meta.flags = queue.now, 0, 0
      redis.call('HSET', META, id, pack_meta(meta))
      redis.call('HSET', RESULT, id, finish.result)
      redis.call('ZADD', COMPLETED, queue.now + finish.keep, id)
      return false
    end
    if has_flag(meta, LARGE) then
      redis.call('HDEL', LARGE_BODY, id)
    end
    return true
  end
  if kind == STOPPED or has_flag(meta, CANCELLING) then
    call_off(queue, id, meta)
  elseif kind == AGAIN or kind == SNOOZE then
    local set = RETRY
    meta.lost = 0
    if kind == AGAIN then
      meta.attempts, meta.error = meta.attempts + 1, string.sub(finish.error, 1, 1024)
      count(queue, 'failed', 1)
      count(queue, 'retried', 1)
    else
      set = meta.attempts > 0 and RETRY or SCHEDULED
      count(queue, 'snoozed', 1)
    end
    if finish.delay > 0 then
      await(queue, id, meta, set, queue.now + finish.delay)
    else
      meta.score = meta.score - meta.score % BAND + queue.now
      restart(id, meta)
    end
  elseif kind == RELEASE then
    count(queue, 'released', 1)
    if meta.lost > 0 then
      suspect(id, meta)
    else
      restart(id, meta)
    end
  elseif kind == DIE then
    meta.attempts = meta.attempts + 1
    count(queue, 'failed', 1)
    bury(queue, id, meta, finish.detail, finish.error)
  else
    meta.reason, meta.lost = finish.detail, 0
    await(queue, id, meta, PARKED, queue.now)
    count(queue, 'parked', 1)
  end
  return false
end

local function finish_runs(queue, worker, blob)
  local answers, finishes, ids = {}, read_finishes(blob)
  if #ids == 0 then
    return answers
  end
  local metas, ended, left, removed = redis.call('HMGET', META, unpack(ids)), {}, {}, {}
  for index, finish in ipairs(finishes) do
    local meta = metas[index] and not ended[finish.id] and unpack_meta(metas[index])
    if not meta or meta.fence ~= finish.fence or meta.worker ~= worker then
      answers[index] = 1
      count(queue, 'stale', 1)
    else
      ended[finish.id] = true
      left[#left + 1] = finish.id
      local stops = has_flag(meta, CANCELLING) and finish.kind ~= COMPLETE and finish.kind ~= STOPPED
      answers[index] = stops and 2 or 0
      if finish_run(queue, finish, meta) then
        removed[#removed + 1] = finish.id
      end
    end
  end
  if #left > 0 then
    redis.call('ZREM', ACTIVE, unpack(left))
  end
  if #removed > 0 then
    redis.call('HDEL', META, unpack(removed))
    redis.call('HDEL', BODY, unpack(removed))
  end
  return answers
end
