--- @include "queue/step_keys"
--- @include "queue/score"
-- Where the jobs are that are pending or active: ids in sorted sets. Includes of other folders keep them elsewhere, by the same functions.
local places = {}

-- places.add_pending(jobs): makes jobs pending that are in no state: score and id of each, one after the other.
function places.add_pending(jobs)
  redis.call('ZADD', PENDING, unpack(jobs))
end

-- places.add_suspect(score, id): the same of one that has lost a lease.
function places.add_suspect(score, id)
  redis.call('ZADD', SUSPECTS, score, id)
end
