#!lua flags=allow-oom
--[[
check_slots: compares what is known of a limit key with the jobs that were counted under it, and puts it right, if told to.
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
ARGV     1 now        us      empty: the server's time
         2 run        text    empty: the server's run id
         3 repair     int     1: put right what is wrong
         4 key        16 bytes
         5 seen       packed  what `keys` had when the count began, empty: nothing
         6 given      int     pending and active jobs of the key, as counted since
RETURNS  0 right, 1 wrong (and with `repair` put right, and held jobs have the slots that there are), 2 it has changed since: nothing is known
COST     O(log N)
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/wake"
local repairs, key, seen, given = ARGV[3] == '1', ARGV[4], ARGV[5], tonumber(ARGV[6])
if #key ~= 16 or not (given and given >= 0) then
  return redis.error_reply('INVALID key or given')
end
if (redis.call('HGET', LIMITS, key) or '') ~= seen then
  return 2
end
local first = first_held(key, 1)[1]
local packed = first and redis.call('HGET', META, string.sub(first, 25))
if packed and seen == '' and not has_flag(unpack_meta(packed), LIMITED) then
  -- The key of a paused task, which gives no slots.
  return 0
end
local wanted = redis.call('ZLEXCOUNT', HELD, '[' .. key, '(' .. key .. AFTER_KEY)
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local slots = read_slots(queue, key)
if slots.given == given and slots.wanted == wanted then
  return 0
end
if repairs then
  slots.given, slots.wanted = given, wanted
  if grant(queue, key, nil, slots) > 0 then
    wake_one(WAKE)
  end
  close_queue(queue, CONF)
end
return 1
