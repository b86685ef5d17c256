--- @include "queue/moves"
--- @include "queue/remove"
--- @include "queue/split"
-- finish_runs(queue, worker, finishes, answers): carries out the ends of runs that pack_finishes in queue_scripts.py packed, in order, and
-- adds to `answers` for each 0 done, 1 stale, 2 cancelled.
local COMPLETE, AGAIN, SNOOZE, RELEASE, DIE, PARK, STOPPED, SPLIT = 0, 1, 2, 3, 4, 5, 6, 7

local function read_finishes(blob)
  local finishes, ids, at = {}, {}, 1
  while at <= #blob do
    local finish = {}
    finish.kind, finish.id, finish.fence, finish.delay, finish.keep, finish.error, finish.result, finish.detail, finish.hand_over, at =
      struct.unpack('<Bc16dddHc0Ic0Bc0Ic0', blob, at)
    finishes[#finishes + 1] = finish
    ids[#ids + 1] = finish.id
  end
  return finishes, ids
end

-- is_to_end(meta, kind): whether a run that did not complete is the job's last: it was cancelled, or told to stop.
local function is_to_end(meta, kind)
  return kind ~= COMPLETE and (has_flag(meta, CANCELLING) or (has_flag(meta, STOPPING) and kind ~= DIE))
end

local function finish_run(queue, finish, meta)
  local id, kind = finish.id, finish.kind
  if kind == COMPLETE then
    count(queue, 'completed', 1)
    if finish.hand_over ~= '' and not has_flag(meta, CANCELLING) and not has_flag(meta, STOPPING) then
      post_all(queue, has_flag(meta, PART) and pass_on(finish.hand_over, id) or finish.hand_over)
    elseif has_flag(meta, PART) then
      report(queue, id, 0, finish.result)
    end
    release_unique(UNIQUE, meta.unique, id)
    give_up(queue, id, meta)
    if finish.keep > 0 then
      meta.at, meta.fence, meta.flags = queue.now, 0, 0
      redis.call('HSET', META, id, pack_meta(meta))
      redis.call('HSET', RESULT, id, finish.result)
      count(queue, 'bytes', #finish.result)
      redis.call('ZADD', COMPLETED, queue.now + finish.keep, id)
      return false
    end
    count(queue, 'bytes', -meta.bytes)
    if has_flag(meta, LARGE) then
      redis.call('HDEL', LARGE_BODY, id)
    end
    if has_flag(meta, JOINED) then
      drop_parts(id)
    end
    return true
  end
  if kind == STOPPED or is_to_end(meta, kind) then
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
      -- Behind those that wait already, of its key too.
      give_up(queue, id, meta)
      set_off(queue, id, redis.call('HGET', BODY, id), meta, queue.now)
    end
  elseif kind == RELEASE then
    count(queue, 'released', 1)
    if meta.lost > 0 then
      suspect(queue, id, meta)
    else
      restart(queue, id, meta)
    end
  elseif kind == SPLIT then
    block(queue, id, meta, finish.hand_over)
    count(queue, 'split', 1)
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

-- end_special(queue, id, packed): what is left to do when a job has completed that is no plain one.
local function end_special(queue, id, packed)
  local meta = unpack_meta(packed)
  release_unique(UNIQUE, meta.unique, id)
  give_up(queue, id, meta)
  if has_flag(meta, PART) then
    report(queue, id, 0, '')
  end
  if has_flag(meta, JOINED) then
    drop_parts(id)
  end
  if has_flag(meta, LARGE) then
    redis.call('HDEL', LARGE_BODY, id)
  end
end

local function finish_runs(queue, worker, finishes, answers)
  local others, ids = read_finishes(finishes)
  local metas, runs, seen = redis.call('HMGET', META, unpack(ids)), {}, {}
  local over, returned, gone = {}, {}, {}
  for index, finish in ipairs(others) do
    local packed = not seen[finish.id] and metas[index]
    local answer = 1
    if packed and is_held(packed, struct.pack('<d', finish.fence), worker) then
      local meta = unpack_meta(packed)
      local ends = is_to_end(meta, finish.kind)
      local list = finish.kind == RELEASE and not ends and returned or over
      list[#list + 1] = finish.id
      seen[finish.id] = true
      runs[#runs + 1] = { finish, meta }
      answer = ends and 2 or 0
    else
      count(queue, 'stale', 1)
    end
    answers[#answers + 1] = answer
  end
  if #over > 0 then
    places.end_leases(over)
  end
  if #returned > 0 then
    places.hand_back(returned)
  end
  for _, run in ipairs(runs) do
    if finish_run(queue, run[1], run[2]) then
      gone[#gone + 1] = run[1].id
    end
  end
  if #gone > 0 then
    remove(gone)
  end
end
