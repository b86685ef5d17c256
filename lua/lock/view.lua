#!lua flags=no-writes
--[[
view: a lock as it stands, changing nothing.
KEYS     1 lock  hash  token, until, fence, holder, owner, purpose
         2 wake  list  at most one token for who waits for the lock
ARGV     1 now   us    empty: the server's time
RETURNS  includes/lock/read_lock.lua's lock_reply of who has it; nothing when it is free
COST     O(1)
]]
--- @include "lock/read_lock"
local lock = read_lock(KEYS[1], ARGV[1])
return lock.is_held and lock_reply(lock) or {}
