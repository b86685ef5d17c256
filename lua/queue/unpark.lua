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
         4 most       int     1 to 100
         5 after      packed  what an earlier call answered with; empty: from the oldest on
RETURNS  how many; and what the next call goes on after: since when the last job is parked that was left (f64), and its id; empty at the end
COST     O(150 + count * log N): no more are looked at
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/wake"
local LOOKED_AT = 150
local most, after = tonumber(ARGV[4]), ARGV[5]
if not (most and most >= 1 and most <= 100) then
  return redis.error_reply('INVALID most: 1 to 100 is expected')
end
local first = 0
if after ~= '' then
  -- By rank while it is where it was; else with those that were parked at the same time, which are looked at once more.
  local since, id = struct.unpack('<dc16', after)
  local is_there = tonumber(redis.call('ZSCORE', PARKED, id) or -1) == since
  first = is_there and redis.call('ZRANK', PARKED, id) + 1 or redis.call('ZCOUNT', PARKED, '-inf', string.format('(%d', since))
end
local queue = open_queue(CONF, ARGV[1], ARGV[2])
local moved, is_last = 0, true
local found, ids = redis.call('ZRANGE', PARKED, first, first + LOOKED_AT - 1, 'WITHSCORES'), {}
for index = 1, #found, 2 do
  ids[#ids + 1] = found[index]
end
local metas = #ids > 0 and redis.call('HMGET', META, unpack(ids)) or {}
for index, id in ipairs(ids) do
  if not metas[index] or not has_reason(metas[index], ARGV[3]) then
    after = struct.pack('<d', tonumber(found[index * 2])) .. id
  elseif moved == most then
    is_last = false
    break
  else
    local body = redis.call('HGET', BODY, id)
    redis.call('ZREM', PARKED, id)
    if body then
      local meta = unpack_meta(metas[index])
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
if is_last and #ids < LOOKED_AT then
  after = ''
end
return { moved, after }
