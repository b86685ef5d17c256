--- @include "queue/step_keys"
--- @include "queue/body"
--- @include "queue/limits"
--- @include "queue/meta"
-- Tasks that are paused. A claim holds their jobs back, by a key that is the task's, and once the task is resumed each step releases
-- some of them. `queue.tasks`: `paused`, task -> { resumes_at, reason }, and `resuming`, the tasks that were; nil when there are none.
local RELEASED = 64

-- task_of(id, body): the task type of a job, empty when its body is no envelope of ours (see payloads/envelope.py).
local function task_of(id, body)
  local from = head_length(body) + 1
  if is_set(string.byte(body, 1), IS_LARGE) then
    body, from = redis.call('HGET', LARGE_BODY, id) or '', 1
  end
  local version, length = string.byte(body, from), string.byte(body, from + 8)
  return version == 1 and length and string.sub(body, from + 9, from + 8 + length) or ''
end

local function is_task_paused(queue, id, body)
  return queue.tasks and queue.tasks.paused[task_of(id, body)]
end

-- hold_back(queue, id, body, packed, score): a job of a paused task is held at its place, without its slot.
local function hold_back(queue, id, body, packed, score)
  local meta = unpack_meta(packed)
  meta.score = score
  give_up(queue, id, meta)
  meta.flags, meta.reason, meta.at, meta.fence, meta.hard, meta.worker = WAITS, task_of(id, body), queue.now, 0, 0, NOBODY
  redis.call('HSET', META, id, pack_meta(meta))
  redis.call('ZADD', HELD, 0, held_member(task_key(meta.reason), meta.score, id))
end

-- resume_task(tasks, task): its jobs are to be released.
local function resume_task(tasks, task)
  if tasks.paused[task] then
    tasks.paused[task] = nil
    tasks.resuming[#tasks.resuming + 1] = task
  end
end
