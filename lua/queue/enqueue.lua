#!lua
--[[
enqueue: takes jobs in, all of them or none; refused by a server that is full, and by a queue whose byte budget is used up (FULL).
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
         2 large_from bytes   bodies of this size go into `large`
         3 job        packed  1 to 100 times: see pack_job in queue_scripts.py
RETURNS  for each job, in order: 0 taken in, 1 known already, or 2 and the id that holds its unique key (two entries each; the second
         is empty for 0 and 1)
COST     O(count * log N)
]]
--- @include "queue/take_in"
if #ARGV < 3 or #ARGV > 102 then
  return redis.error_reply('INVALID jobs: 1 to 100 are expected')
end
local jobs, ids = read_jobs({ unpack(ARGV, 3) })
if not jobs then
  return redis.error_reply('INVALID jobs: ' .. ids)
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
return take_in(jobs, ids, now, tonumber(ARGV[2]), true)
