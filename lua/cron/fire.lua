#!lua
--[[
fire: enqueues the job of one tick and records the tick, both or neither.
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
         24 cron      hash    name -> version, schedule, definition; the empty name -> count of changes
         25 ticks     hash    name -> last tick, wall ms
ARGV     1 now        us      empty: the server's time
         2 large_from bytes   bodies of this size go into `large`
         3 name       text    of the cron job
         4 version    int     of the definition that the caller has read
         5 tick       ms      the instant, wall ms
         6 late       ms      a tick that lies further back is recorded and not run, 0: however far
         7 job        packed  see pack_job in queue_scripts.py; its id follows from name and tick
RETURNS  what became of the tick; now, the last tick, and the last one before this call (wall ms). Recorded: 0 enqueued, 1 the queue has this job already, 2 another
         job holds its unique key, 3 too late. Nothing being changed: 4 not later than the last one, 5 later than now, 6 the
         definition has another version, or is gone
COST     O(log N)
]]
--- @include "queue/take_in"
local CRON, TICKS = KEYS[JOB_KEYS + 1], KEYS[JOB_KEYS + 2]
local name, version, tick, late = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local jobs, ids = read_jobs({ unpack(ARGV, 7) })
if not jobs or #jobs ~= 1 or not (version and tick and late) or tick ~= math.floor(tick) then
  return redis.error_reply('INVALID tick: whole numbers and one job are expected')
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local stored = redis.call('HGET', CRON, name)
local last = tonumber(redis.call('HGET', TICKS, name)) or 0
if name == '' or not stored or struct.unpack('<d', stored) ~= version then
  return { 6, now, last, last }
end
if tick > now then
  return { 5, now, last, last }
end
if tick <= last then
  return { 4, now, last, last }
end
local result = 3
if late == 0 or now - tick <= late then
  local reply = take_in(jobs, ids, now, tonumber(ARGV[2]), true)
  if reply.err then
    return reply
  end
  result = reply[1]
end
-- Last: if the store cannot take the job in, the tick is still to come, and its job is known by its id.
redis.call('HSET', TICKS, name, string.format('%d', tick))
return { result, now, tick, last }
