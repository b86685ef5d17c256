#!lua flags=allow-oom
--[[
step: finishes runs, tends the queue and claims jobs in one call; a call with the number of the lane's last one changes nothing
and is answered as that was.
KEYS     1 body       hash    id -> head and what the worker needs
         2 large      hash    id -> what the worker needs, where that is large
         3 meta       hash    id -> lease, attempts, error, packed
         4 result     hash    id -> what a completed job left
         5 unique     hash    unique key -> holder and end
         6 entries    hash    id -> stream and entry of a job that is pending or active
         7 scheduled  zset    id -> wall ms from when it may run
         8 retry      zset    id -> wall ms from when it may run again
         9 parked     zset    id -> wall ms since when
         10 dead       zset    id -> wall ms since when
         11 completed  zset    id -> wall ms until when it is kept
         12 cancelled  zset    id -> wall ms since when
         13 conf       hash    clocks, pause, counters, which streams there are
         14 wake       list    at most one token for an idle worker
         15 held       zset    0 -> limit key, place and id of a job whose key is at its limit
         16 keys       hash    limit key -> slots given and wanted, tag, tokens
         17 rates      zset    limit key -> wall ms from when another job of it may run
         18 outbox     hash    kind and id -> what is handed over to another queue
         19 outgoing   zset    the same -> wall ms from when it is to be delivered (again)
         20 blocked    zset    id -> wall ms since when it waits for its parts
         21 parts      hash    id -> its parts, packed, and what goes with them
         22 pending9   stream  job and score of the pending and active ones of this priority
         23 pending8   stream
         24 pending7   stream
         25 pending6   stream
         26 pending5   stream
         27 pending4   stream
         28 pending3   stream
         29 pending2   stream
         30 pending1   stream
         31 pending0   stream
         32 suspects   stream  the same of those that have lost a lease
         33 calls      hash    worker and lane -> the last call's number and reply
         34 workers    zset    worker -> wall ms of its last call
ARGV     1 now        us      empty: the server's time
         2 run        text    empty: the server's run id
         3 worker     16 bytes
         4 lane       int     0 to 15
         5 call       int     its number in this lane
         6 claim      int     most jobs to claim, 0 to 64
         7 suspects   int     1: one of them may be a suspect
         8 lease      ms
         9 hard       ms      past this no lease is renewed
         10 max_lost  int     leases that a job may lose
         11 completed packed  0 to 64 pairs of an id and a fence: runs that completed and leave nothing
         12 finishes  packed  0 to 64 other ends of runs: see pack_finishes in queue_scripts.py
RETURNS  now, 1 when more could be claimed, wall ms from when there may be something to claim again: a job that is due later, a key or the queue by its rate (0 none), 1 when paused, the fence, how many
         entries of the outbox are to be delivered,
         an array with 0 done, 1 stale or 2 cancelled for each completed and then each other finish, and of each claimed job id, body, attempts, lost and wall ms
         since when it was pending
COST     O((finishes + claim + 100) * log N)
]]
--- @body "queue/step"
