#!lua flags=allow-oom
--[[
report: carries out what other queues' outboxes say to jobs of this one: how their parts ended, and that they are to stop.
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
         3 arrival    packed  1 to 20 times: kind and content of an entry: of 2 a part's reference (id, round f64, index u16), its outcome
                              and what it left, of 3 ids of jobs
RETURNS  nothing
COST     O(count * log N)
]]
--- @include "queue/split"
--- @include "queue/open_queue"
--- @include "queue/wake"
if #ARGV < 3 or #ARGV > 22 then
  return redis.error_reply('INVALID arrivals: 1 to 20 are expected')
end
for index = 3, #ARGV do
  local kind, size = string.byte(ARGV[index], 1), #ARGV[index] - 1
  if not (kind == 2 and size > PART_LENGTH) and not (kind == 3 and size % 16 == 0) then
    return redis.error_reply('INVALID arrivals: kind or length')
  end
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
for index = 3, #ARGV do
  local arrival = ARGV[index]
  if string.byte(arrival, 1) == 2 then
    local id, round, number, outcome, from = struct.unpack('<xc16dHB', arrival)
    note_part(queue, id, { round = round, index = number, outcome = outcome, data = string.sub(arrival, from) })
  else
    for at = 2, #arrival, 16 do
      stop(queue, string.sub(arrival, at, at + 15))
    end
  end
end
if queue.has_posted or queue.has_joined then
  wake_one(WAKE)
end
close_queue(queue, CONF)
return 0
