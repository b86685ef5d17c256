#!lua flags=allow-oom
--[[
check_keys: looks whether unique keys are held by jobs that live, and gives those free that are not, if told to.
KEYS     1 body       hash    id -> head and what the worker needs
         2 large      hash    id -> what the worker needs, where that is large
         3 meta       hash    id -> lease, attempts, error, packed
         4 result     hash    id -> what a completed job left
         5 unique     hash    unique key -> holder and end
         6 pending    zset    id -> priority and wall ms since when it may run
         7 suspects   zset    id -> the same, of jobs that have lost a lease
         8 scheduled  zset    id -> wall ms from when it may run
         9 retry      zset    id -> wall ms from when it may run again
         10 active    zset    id -> end of the lease, queue clock
         11 parked    zset    id -> wall ms since when
         12 dead      zset    id -> wall ms since when
         13 completed zset    id -> wall ms until when it is kept
         14 cancelled zset    id -> wall ms since when
         15 conf      hash    clocks, pause, counters
         16 wake      list    at most one token for an idle worker
         17 held      zset    0 -> limit key, place and id of a job whose key is at its limit
         18 keys      hash    limit key -> slots given and wanted, tag, tokens
         19 rates     zset    limit key -> wall ms from when another job of it may run
         20 outbox    hash    kind and id -> what is handed over to another queue
         21 outgoing  zset    the same -> wall ms from when it is to be delivered (again)
         22 blocked   zset    id -> wall ms since when it waits for its parts
         23 parts     hash    id -> its parts, packed, and what goes with them
ARGV     1 repair     int     1: put right what is wrong
         2 key        16 bytes, 1 to 100 times
RETURNS  for each, in order: 1 when its holder has ended or is not there, else 0
COST     O(count * log N)
]]
--- @include "queue/state_of"
if #ARGV < 2 or #ARGV > 101 then
  return redis.error_reply('INVALID keys: 1 to 100 are expected')
end
local LIVE = { pending = true, active = true, scheduled = true, retry = true, parked = true, held = true, blocked = true }
local reply = {}
for index = 2, #ARGV do
  local held, is_wrong = redis.call('HGET', UNIQUE, ARGV[index]), 0
  if held and not LIVE[state_of(string.sub(held, 1, 16)) or ''] then
    is_wrong = 1
    if ARGV[1] == '1' then
      redis.call('HDEL', UNIQUE, ARGV[index])
    end
  end
  reply[#reply + 1] = is_wrong
end
return reply
