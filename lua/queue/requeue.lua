#!lua flags=allow-oom
--[[
requeue: makes jobs pending that are dead, parked, cancelled, scheduled or waiting for another attempt, as if they were new.
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
         3 id         16 bytes, 1 to 100 times
RETURNS  for each, in order: 0 it is pending now, 2 and the id that holds its unique key, or 3 in no such state (two entries each)
COST     O(count * log N)
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/state_of"
--- @include "queue/wake"
if #ARGV < 3 or #ARGV > 102 then
  return redis.error_reply('INVALID ids: 1 to 100 are expected')
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local reply, moved = {}, 0
for index = 3, #ARGV do
  local id, result, holder = ARGV[index], 3, ''
  local name, set = state_of(id)
  local body = name and name ~= 'pending' and name ~= 'active' and name ~= 'completed' and name ~= 'held' and name ~= 'blocked' and redis.call('HGET', BODY, id)
  if body then
    local _, _, unique = read_head(body)
    local other = unique ~= '' and unique_holder(UNIQUE, unique, queue.now)
    if other and other ~= id then
      result, holder = 2, other
    else
      if unique ~= '' and not other then
        redis.call('HSET', UNIQUE, unique, struct.pack('<c16d', id, 0))
      end
      if set == DEAD then
        leave_dead(queue, redis.call('HGET', META, id))
      end
      redis.call('ZREM', set, id)
      set_off(queue, id, body, unpack_meta(nil), queue.now)
      result, moved = 0, moved + 1
    end
  end
  reply[#reply + 1] = result
  reply[#reply + 1] = holder
end
if moved > 0 then
  wake_one(WAKE)
end
close_queue(queue, CONF)
return reply
