#!lua flags=allow-oom
--[[
purge: removes jobs that are in a state in which nothing is done with them.
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
         3 state      text    dead, completed, cancelled, parked, scheduled or retry
         4 limit      int     1 to 100; the oldest of them, unless ids are given
         5 id         16 bytes, 1 to 100 times: these alone; empty: no ids are given
RETURNS  how many were removed
COST     O(count * log N)
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/wake"
local SETS = {
  dead = DEAD, completed = COMPLETED, cancelled = CANCELLED, parked = PARKED, scheduled = SCHEDULED, retry = RETRY,
}
local set, limit = SETS[ARGV[3]], tonumber(ARGV[4])
if not set or not (limit and limit >= 1 and limit <= 100) then
  return redis.error_reply('INVALID state or limit')
end
if #ARGV < 5 or #ARGV > 104 then
  return redis.error_reply('INVALID ids: 1 to 100 are expected')
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local ids, removed = ARGV[5] ~= '' and { unpack(ARGV, 5) } or redis.call('ZRANGE', set, 0, limit - 1), 0
if #ids > 0 then
  local bodies = redis.call('HMGET', BODY, unpack(ids))
  for index, id in ipairs(ids) do
    if redis.call('ZREM', set, id) == 1 then
      if set == DEAD then
        leave_dead(queue, redis.call('HGET', META, id))
      end
      if bodies[index] then
        if set == PARKED or set == SCHEDULED or set == RETRY then
          report(queue, id, 3, 'purged')
        end
        release_unique(UNIQUE, select(3, read_head(bodies[index])), id)
      end
      forget(queue, id, bodies[index])
      removed = removed + 1
    end
  end
end
if queue.has_posted then
  wake_one(WAKE)
end
close_queue(queue, CONF)
return removed
