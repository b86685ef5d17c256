#!lua flags=allow-oom
--[[
cancel: ends a job for good: at once where it waits, by a flag where it runs.
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
         3 id         16 bytes
RETURNS  the name of the state that the job is in now, empty when the queue does not have it
COST     O(log N)
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/split"
--- @include "queue/wake"
--- @include "queue/wake"
local id = ARGV[3]
local name, set = state_of(id)
if not name then
  return ''
end
local meta = unpack_meta(redis.call('HGET', META, id))
if name == 'active' then
  if not has_flag(meta, CANCELLING) then
    meta.flags = meta.flags + CANCELLING
    redis.call('HSET', META, id, pack_meta(meta))
  end
  return name
end
if name == 'completed' or name == 'dead' or name == 'cancelled' then
  return name
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
meta.unique = select(3, read_head(redis.call('HGET', BODY, id)))
if set == BLOCKED then
  call_off_blocked(queue, id, meta)
else
  if set ~= HELD then
    places.withdraw(set, id)
  end
  call_off(queue, id, meta)
end
if queue.has_posted then
  wake_one(WAKE)
end
if (queue.granted or 0) > 0 then
  wake_one(WAKE)
end
close_queue(queue, CONF)
return 'cancelled'
