--- @include "queue/places"
-- What can be asked of the jobs that are pending or active.
function places.count_active()
  return redis.call('ZCARD', ACTIVE)
end

-- places.first_jobs(): id and score of the first pending job and the first suspect of each priority.
function places.first_jobs()
  local firsts = {}
  for _, set in ipairs({ PENDING, SUSPECTS }) do
    for band = 0, 9 do
      local first = redis.call('ZRANGEBYSCORE', set, band * BAND, '(' .. (band + 1) * BAND, 'WITHSCORES', 'LIMIT', 0, 1)
      if first[2] then
        firsts[#firsts + 1] = { first[1], tonumber(first[2]) }
      end
    end
  end
  return firsts
end

-- places.find(id): whether a job is pending or active, the set that says so and its score there; nil when it is neither.
function places.find(id)
  for _, place in ipairs({ { 'pending', PENDING }, { 'active', ACTIVE }, { 'pending', SUSPECTS } }) do
    local score = redis.call('ZSCORE', place[2], id)
    if score then
      return place[1], place[2], tonumber(score)
    end
  end
end

-- places.all_of(id): the sets, of those of active and pending jobs, that have a job.
function places.all_of(id)
  local found = {}
  for _, set in ipairs({ ACTIVE, SUSPECTS, PENDING }) do
    if redis.call('ZSCORE', set, id) then
      found[#found + 1] = set
    end
  end
  return found
end

-- places.lacks_lease(id, set, packed): whether a job is active, and nobody's. `set`: that it is in. `packed`: its meta, false none.
function places.lacks_lease(_, set, packed)
  return set == ACTIVE and not packed
end
