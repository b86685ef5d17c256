#!lua
--[[
acquire: takes a lock that is free, or that the same holder has already.
KEYS     1 lock          hash  token, until, fence, holder, owner, purpose
         2 wake          list  at most one token for who waits for the lock
ARGV     1 now           us    empty: the server's time
         2 run           text  empty: the server's run id
         3 token         text  proves the hold from now on; the same one again is answered as the first time
         4 ttl           ms    how long it holds
         5 holder        text  who asks, by a name that is the same when it asks again; empty: nobody that could
         6 holder_fence  int   which life of the holder asks: a lower one takes nothing from a higher one
         7 owner         text
         8 purpose       text
         9 waits         ms    the caller will wait this long for a wake-up if it is refused, 0: it will not
RETURNS  1, now, fence, end (us), and 1 when the holder had it already; or 0 and includes/lock/read_lock.lua's lock_reply of who has it
COST     O(1)
]]
--- @include "lock/read_lock"
local token, ttl, holder, holder_fence = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local owner, purpose, waits = ARGV[7], ARGV[8], tonumber(ARGV[9])
if token == '' or not (ttl > 0 and ttl < 4398046511104) or not holder_fence or not waits then
  return redis.error_reply('INVALID lock: a token, a ttl above 0 and whole numbers are expected')
end
local lock = read_lock(KEYS[1], ARGV[1])
if lock.is_held and lock.token == token then
  return { 1, lock.now, lock.fence, lock.ends, 0 }
end
local is_same = lock.is_held and holder ~= '' and lock.holder == holder and lock.owner == owner
if lock.is_held and not (is_same and lock.holder_fence <= holder_fence) then
  if waits > 0 then
    redis.call('HSET', KEYS[1], 'waited', string.format('%d', math.max(lock.waited, lock.now + waits * 1000)))
  end
  local reply = lock_reply(lock)
  table.insert(reply, 1, 0)
  return reply
end
local run = ARGV[2] ~= '' and ARGV[2] or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local last = lock.fence
if lock.run and lock.run ~= run then
  -- A store that took over from another one, or came back, may have forgotten its last five seconds of fences.
  last = last + 5000000
end
local fence, ends = math.max(lock.now, last + 1), lock.now + ttl * 1000
redis.call(
  'HSET', KEYS[1], 'token', token, 'until', string.format('%d', ends), 'fence', string.format('%d', fence),
  'since', string.format('%d', lock.now), 'holder', holder, 'holder_fence', ARGV[6], 'owner', owner,
  'purpose', purpose, 'run', run
)
redis.call('HDEL', KEYS[1], 'taken', 'taken_by', 'reason')
redis.call('PEXPIRE', KEYS[1], ttl + 60000)
redis.call('DEL', KEYS[2])
return { 1, lock.now, fence, ends, is_same and 1 or 0 }
