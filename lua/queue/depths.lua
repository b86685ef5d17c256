#!lua flags=no-writes
--[[
depths: how many jobs are in which state, and what else operators ask first.
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
RETURNS  scheduled, pending, active, retry, parked, dead, completed, cancelled, held, blocked, now, wall ms since when the oldest of those that are next is pending (0 none),
         of the earliest job that is due (0 none), 1 when paused, the reason, when it resumes by itself, bytes of the bodies and results, and
         of the dead letters, the paused tasks (task, reason and when it resumes by itself of each), then names and numbers of the counters
COST     O(log N)
]]
--- @include "queue/places_seen"
--- @include "queue/meta"
local COUNTERS = {
  'enqueued', 'claimed', 'completed', 'failed', 'retried', 'dead', 'cancelled', 'lost', 'stale', 'snoozed', 'released', 'parked',
  'expired', 'split',
}
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local pause = redis.call('HMGET', CONF, 'paused', 'reason', 'resumes_at', 'bytes', 'dead_bytes', 'tasks')
local resumes_at = tonumber(pause[3]) or 0
local is_paused = pause[1] == '1' and (resumes_at == 0 or resumes_at > now)
local oldest, due = 0, 0
-- The first of each priority is its oldest, but where shares by key decide; then it is the next one.
for _, job in ipairs(places.first_jobs()) do
  local packed = redis.call('HGET', META, job[1])
  local meta = packed and unpack_meta(packed)
  local ready = meta and has_flag(meta, LIMITED) and meta.at or job[2] % BAND
  oldest = oldest == 0 and ready or math.min(oldest, ready)
end
for _, set in ipairs({ SCHEDULED, RETRY }) do
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] then
    due = due == 0 and tonumber(first[2]) or math.min(due, tonumber(first[2]))
  end
end
local paused_tasks = {}
for task, paused in pairs(pause[6] and cmsgpack.unpack(pause[6]).paused or {}) do
  if paused[1] == 0 or paused[1] > now then
    paused_tasks[#paused_tasks + 1] = task
    paused_tasks[#paused_tasks + 1] = paused[2]
    paused_tasks[#paused_tasks + 1] = paused[1]
  end
end
local reply = {
  redis.call('ZCARD', SCHEDULED), places.count_pending() + places.count_suspects(), places.count_active(),
  redis.call('ZCARD', RETRY), redis.call('ZCARD', PARKED), redis.call('ZCARD', DEAD), redis.call('ZCARD', COMPLETED),
  redis.call('ZCARD', CANCELLED), redis.call('ZCARD', HELD), redis.call('ZCARD', BLOCKED), now, oldest, due, is_paused and 1 or 0, is_paused and pause[2] or '', is_paused and resumes_at or 0,
  tonumber(pause[4]) or 0, tonumber(pause[5]) or 0, paused_tasks,
}
local counters = redis.call('HMGET', CONF, unpack(COUNTERS))
for index, name in ipairs(COUNTERS) do
  reply[#reply + 1] = name
  reply[#reply + 1] = tonumber(counters[index]) or 0
end
return reply
