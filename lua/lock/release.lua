#!lua flags=allow-oom
--[[
release: gives a lock up, if the token is still the one that holds.
KEYS     1 lock   hash  token, until, fence, holder, owner, purpose
         2 wake   list  at most one token for who waits for the lock
ARGV     1 now    us    empty: the server's time
         2 token  text
RETURNS  1 and the end that the hold had (us); or 0, and who took the lock away and why, both empty when it ran out or went by itself
COST     O(1)
]]
--- @include "lock/read_lock"
--- @include "lock/free_lock"
local lock = read_lock(KEYS[1], ARGV[1])
if not lock.is_held or lock.token ~= ARGV[2] then
  return { 0, was_taken(lock, ARGV[2]) }
end
free_lock(lock, FENCE_KEPT)
return { 1, lock.ends }
