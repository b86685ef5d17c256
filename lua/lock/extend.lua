#!lua flags=allow-oom
--[[
extend: lets a hold last for `ttl` from now, if the token is still the one that holds.
KEYS     1 lock   hash  token, until, fence, holder, owner, purpose
         2 wake   list  at most one token for who waits for the lock
ARGV     1 now    us    empty: the server's time
         2 token  text
         3 ttl    ms
RETURNS  1, now, fence and end (us); or 0, and who took the lock away and why, both empty when it ran out or went by itself
COST     O(1)
]]
--- @include "lock/read_lock"
--- @include "lock/free_lock"
local token, ttl = ARGV[2], tonumber(ARGV[3])
if not (ttl > 0 and ttl < 4398046511104) then
  return redis.error_reply('INVALID lock: a ttl above 0 is expected')
end
local lock = read_lock(KEYS[1], ARGV[1])
if not lock.is_held or lock.token ~= token then
  return { 0, was_taken(lock, token) }
end
local ends = lock.now + ttl * 1000
redis.call('HSET', KEYS[1], 'until', string.format('%d', ends))
redis.call('PEXPIRE', KEYS[1], ttl + FENCE_KEPT)
return { 1, lock.now, lock.fence, ends }
