--- @include "queue/places"
--- @include "queue/rare"
-- Most steps find nothing to tend, and ask for no more than the first of each set.
local REAPED = 20

-- first_of(set): the score of the first member, infinite when there is none.
local function first_of(set)
  return tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]) or math.huge
end

-- is_beyond(set, kept): whether a set has more members than are kept of it; 0: any number.
local function is_beyond(set, kept)
  return kept > 0 and redis.call('ZCARD', set) > kept
end

-- next_due(): wall ms of the first job that is due later, or of a key that may begin another job.
local function next_due()
  return math.min(first_of(SCHEDULED), first_of(RETRY), first_of(RATES))
end

-- is_past_keeping(queue): whether something that has ended, or that nobody knows, has been kept for long enough.
local function is_past_keeping(queue)
  local settings, now = queue.settings, queue.now
  local first_dead = first_of(DEAD)
  return first_of(COMPLETED) <= now
    or is_beyond(COMPLETED, settings.completed_count)
    or first_of(CANCELLED) <= now - settings.cancelled_age
    or first_dead <= now - settings.dead_age
    or first_dead < math.huge and is_beyond(DEAD, settings.dead_count)
    or settings.dead_bytes > 0 and queue.dead_bytes + (queue.counted.dead_bytes or 0) > settings.dead_bytes
    or first_of(PARKED) <= now - settings.parked_age
end

-- attend(queue, max_lost): tends the queue if anything is due; wall ms of what was due first before that.
local function attend(queue, max_lost)
  local expired = queue.clock >= queue.quiet and places.expired_leases(queue, REAPED) or {}
  local due, is_late = math.huge, false
  -- In a queue that has nothing of the kind, one question answers seven.
  if redis.call('EXISTS', SCHEDULED, RETRY, RATES, COMPLETED, CANCELLED, DEAD, PARKED) > 0 then
    due = next_due()
    is_late = due <= queue.now or is_past_keeping(queue)
  end
  if #expired > 0 or is_late or queue.tasks or queue.settings.ageing > 0 then
    rare().tend(queue, expired, max_lost)
  end
  return due
end
