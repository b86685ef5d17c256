#!lua flags=allow-oom
--[[
unpark: makes parked jobs of one task type pending: there is a worker now that knows it.
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
         3 task       text
RETURNS  how many, at most 100
COST     O(parked of other types + count * log N), 1,000 looked at
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/wake"
local LOOKED_AT, MOST = 1000, 100
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local moved = 0
local ids = redis.call('ZRANGE', PARKED, 0, LOOKED_AT - 1)
local metas = #ids > 0 and redis.call('HMGET', META, unpack(ids)) or {}
for index, id in ipairs(ids) do
  local meta = unpack_meta(metas[index])
  if meta.reason == ARGV[3] and moved < MOST then
    local body = redis.call('HGET', BODY, id)
    redis.call('ZREM', PARKED, id)
    if body then
      meta.reason = ''
      set_off(queue, id, body, meta, queue.now)
      moved = moved + 1
    else
      forget(queue, id, false)
    end
  end
end
if moved > 0 then
  wake_one(WAKE)
end
close_queue(queue, CONF)
return moved
