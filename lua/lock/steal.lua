#!lua flags=allow-oom
--[[
steal: takes a lock away from whoever holds it, for an operator; the holder's next call is told by whom and why.
KEYS     1 lock    hash  token, until, fence, holder, owner, purpose
         2 wake    list  at most one token for who waits for the lock
ARGV     1 now     us    empty: the server's time
         2 token   text  only from who holds it by this token; empty: from anybody
         3 by      text  who takes it
         4 reason  text
RETURNS  includes/lock/read_lock.lua's lock_reply of who had it; nothing when it was free or held by another token
COST     O(1)
]]
--- @include "lock/read_lock"
--- @include "lock/free_lock"
-- Holders that renew are told within a third of their ttl; the others when they give the lock up.
local REASON_KEPT = 3600000
local lock = read_lock(KEYS[1], ARGV[1])
if not lock.is_held or (ARGV[2] ~= '' and ARGV[2] ~= lock.token) then
  return {}
end
redis.call('HSET', KEYS[1], 'taken', lock.token, 'taken_by', ARGV[3], 'reason', ARGV[4])
free_lock(lock, REASON_KEPT)
return lock_reply(lock)
