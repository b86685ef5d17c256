-- free_lock(lock, keep): lets go of a lock, keeps its last fence for `keep` ms, and wakes one of those who wait. A fence is
-- at most seconds ahead of the server's time, and the next one is not below that time: so it is soon no longer needed.
local FENCE_KEPT = 60000

local function free_lock(lock, keep)
  redis.call('HDEL', KEYS[1], 'token', 'until', 'since', 'holder', 'holder_fence', 'owner', 'purpose')
  redis.call('PEXPIRE', KEYS[1], keep)
  if lock.waited > lock.now and redis.call('LLEN', KEYS[2]) == 0 then
    redis.call('RPUSH', KEYS[2], '1')
    redis.call('PEXPIRE', KEYS[2], FENCE_KEPT)
  end
end

-- was_taken(lock, token): who took a lock away from the holder of this token, and why; empty when nobody did.
local function was_taken(lock, token)
  if lock.taken == token then
    return lock.taken_by, lock.reason
  end
  return '', ''
end
