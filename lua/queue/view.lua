#!lua flags=no-writes
--[[
view: jobs as they stand.
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
ARGV     1 id         16 bytes, 1 to 50 times
RETURNS  for the first of them, as many as a MiB of bodies and results holds, one at least, in order: state (empty when the queue does not have it), score, meta (packed, see unpack_meta in queue_scripts.py), the
         body's head and what the worker needs of it, result
COST     O(count * log N)
]]
--- @include "queue/state_of"
local MOST_BYTES = 1048576
if #ARGV < 1 or #ARGV > 50 then
  return redis.error_reply('INVALID ids: 1 to 50 are expected')
end
local bodies, metas = redis.call('HMGET', BODY, unpack(ARGV)), redis.call('HMGET', META, unpack(ARGV))
local reply, bytes = {}, 0
for index, id in ipairs(ARGV) do
  local name, _, score = state_of(id)
  local has_result = name == 'completed'
  bytes = bytes + #(bodies[index] or '') + (has_result and redis.call('HSTRLEN', RESULT, id) or 0)
  if bytes > MOST_BYTES and index > 1 then
    break
  end
  reply[#reply + 1] = name or ''
  reply[#reply + 1] = score or 0
  reply[#reply + 1] = metas[index] or ''
  reply[#reply + 1] = bodies[index] or ''
  reply[#reply + 1] = has_result and redis.call('HGET', RESULT, id) or ''
end
return reply
