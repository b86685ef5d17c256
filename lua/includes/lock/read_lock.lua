-- read_lock(key, now): what the store knows of a lock, at `now` (us; empty: the server's time); writes nothing.
-- A lock that was given up, or has run out, is free: its hash stays for a while for the sake of its last fence.
local function read_lock(key, now)
  local values = redis.call(
    'HMGET', key, 'token', 'until', 'fence', 'since', 'holder', 'holder_fence', 'owner', 'purpose', 'run', 'waited',
    'taken', 'taken_by', 'reason'
  )
  local time = redis.call('TIME')
  local lock = { now = tonumber(now) or time[1] * 1000000 + time[2] }
  lock.token, lock.ends, lock.fence = values[1] or '', tonumber(values[2]) or 0, tonumber(values[3]) or 0
  lock.since, lock.holder, lock.holder_fence = tonumber(values[4]) or 0, values[5] or '', tonumber(values[6]) or 0
  lock.owner, lock.purpose, lock.run = values[7] or '', values[8] or '', values[9]
  lock.waited, lock.taken, lock.taken_by, lock.reason = tonumber(values[10]) or 0, values[11], values[12], values[13]
  lock.is_held = lock.token ~= '' and lock.ends > lock.now
  return lock
end

-- lock_reply(lock): now, fence, end, since (us), token, holder, owner and purpose of a lock that is held.
local function lock_reply(lock)
  return { lock.now, lock.fence, lock.ends, lock.since, lock.token, lock.holder, lock.owner, lock.purpose }
end
