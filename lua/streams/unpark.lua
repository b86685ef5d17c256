#!lua flags=allow-oom
--[[
unpark: makes parked jobs of one task type pending: there is a worker now that knows it.
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
ARGV     1 now        us      empty: the server's time
         2 run        text    empty: the server's run id
         3 task       text
         4 most       int     1 to 100
         5 after      packed  what an earlier call answered with; empty: from the oldest on
RETURNS  how many; and what the next call goes on after: since when the last job is parked that was left (f64), and its id; empty at the end
COST     O(150 + count * log N): no more are looked at
]]
--- @body "queue/unpark"
