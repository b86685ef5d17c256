--- @include "queue/new_places"
-- What else happens to jobs that are pending or active.
-- places.withdraw(set, id): takes a job from a set that `find`, `all_of` or state_of named.
function places.withdraw(set, id)
  redis.call('ZREM', set, id)
end

-- places.next_jobs(claim): id and score of those whose turn it is, one after the other, and how many of them, the first, are suspects.
function places.next_jobs(claim)
  local found, from_suspects = {}, 0
  if claim.suspects then
    found = redis.call('ZRANGE', SUSPECTS, 0, 0, 'WITHSCORES')
    from_suspects = #found / 2
  end
  if claim.most > from_suspects then
    for _, value in ipairs(redis.call('ZRANGE', PENDING, 0, claim.most - from_suspects - 1, 'WITHSCORES')) do
      found[#found + 1] = value
    end
  end
  return found, from_suspects
end

-- places.begin_leases(ids, taken, from_suspects, leases): of those that `next_jobs` gave, the first `taken` are pending no more.
-- `leases`: end and id of those of them that are active now, one after the other.
function places.begin_leases(ids, taken, from_suspects, leases)
  if from_suspects > 0 then
    redis.call('ZREM', SUSPECTS, ids[1])
  end
  if taken > from_suspects then
    redis.call('ZREMRANGEBYRANK', PENDING, 0, taken - from_suspects - 1)
  end
  if #leases > 0 then
    redis.call('ZADD', ACTIVE, unpack(leases))
  end
end

-- places.prolong(leases): end and id of leases that last longer, one after the other.
function places.prolong(leases)
  redis.call('ZADD', ACTIVE, 'XX', unpack(leases))
end

-- places.end_leases(ids): these jobs are active no more, and are put elsewhere next.
function places.end_leases(ids)
  redis.call('ZREM', ACTIVE, unpack(ids))
end

-- places.hand_back(ids): the same of jobs that are added at their old places next.
function places.hand_back(ids)
  redis.call('ZREM', ACTIVE, unpack(ids))
end

-- places.expired_leases(queue, most): ids of active jobs whose lease is over.
function places.expired_leases(queue, most)
  return redis.call('ZRANGEBYSCORE', ACTIVE, '-inf', queue.clock, 'LIMIT', 0, most)
end

function places.count_pending()
  return redis.call('ZCARD', PENDING)
end

function places.count_suspects()
  return redis.call('ZCARD', SUSPECTS)
end

-- places.raise_old(queue, most): a pending job that has waited for some times the queue's `ageing` goes as many priorities higher, to
-- the place that its time gives it there; `most` are looked at.
function places.raise_old(queue, most)
  local ageing = queue.settings.ageing
  if ageing == 0 then
    return
  end
  for band = 1, 9 do
    local last = math.min(band * BAND + queue.now - ageing, (band + 1) * BAND - 1)
    local found = most > 0 and redis.call('ZRANGEBYSCORE', PENDING, band * BAND, last, 'WITHSCORES', 'LIMIT', 0, most) or {}
    for index = 1, #found, 2 do
      local id, score = found[index], tonumber(found[index + 1])
      local body = redis.call('HGET', BODY, id)
      local ready = score % BAND
      local wanted = body and math.max(0, 9 - string.byte(body, 2) - math.floor((queue.now - ready) / ageing)) or band
      if wanted < band then
        redis.call('ZADD', PENDING, wanted * BAND + ready, id)
      end
      most = most - 1
    end
  end
end
