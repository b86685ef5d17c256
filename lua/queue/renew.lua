#!lua flags=allow-oom
--[[
renew: prolongs leases, each named by its job and fence.
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
         3 worker     16 bytes
         4 lease      ms
         5 held       packed  1 to 200 pairs of an id and a fence: see pack_held in queue_scripts.py
RETURNS  for each 0 held, 1 lost, 2 held and to be cancelled, 3 held but past its hard end, and not prolonged, 4 held and to be stopped
COST     O(count * log N)
]]
--- @include "queue/places"
--- @include "queue/open_queue"
--- @include "queue/close_queue"
--- @include "queue/meta"
local PAIR = 24
local worker, lease, held = ARGV[3], tonumber(ARGV[4]), ARGV[5]
if #worker ~= 16 or not (lease and lease > 0) or #held == 0 or #held % PAIR ~= 0 or #held > 200 * PAIR then
  return redis.error_reply('INVALID worker, lease or held')
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local ids, fences = {}, {}
for at = 1, #held, PAIR do
  ids[#ids + 1], fences[#fences + 1] = struct.unpack('<c16d', held, at)
end
local metas, prolonged, reply = redis.call('HMGET', META, unpack(ids)), {}, {}
for index, id in ipairs(ids) do
  local meta = metas[index] and unpack_meta(metas[index])
  if not meta or meta.fence ~= fences[index] or meta.worker ~= worker then
    reply[index] = 1
  elseif queue.clock > meta.hard then
    reply[index] = 3
  else
    prolonged[#prolonged + 1] = math.min(queue.clock + lease, meta.hard)
    prolonged[#prolonged + 1] = id
    reply[index] = has_flag(meta, CANCELLING) and 2 or has_flag(meta, STOPPING) and 4 or 0
  end
end
if #prolonged > 0 then
  places.prolong(prolonged)
end
close_queue(queue, CONF)
return reply
