#!lua
--[[
enqueue: takes jobs in, all of them or none; the only script that a full server refuses.
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
ARGV     1 now        us      empty: the server's time
         2 large_from bytes   bodies of this size go into `large`
         3 job        packed  1 to 100 times: see pack_job in queue_scripts.py
RETURNS  for each job, in order: 0 taken in, 1 known already, or 2 and the id that holds its unique key (two entries each; the second
         is empty for 0 and 1)
COST     O(count * log N)
]]
--- @include "queue/moves"
--- @include "queue/wake"
local HEAD = '<c16BBddd'
local HEAD_LENGTH, LIMIT_LENGTH = 42, 26
if #ARGV < 3 or #ARGV > 102 then
  return redis.error_reply('INVALID jobs: 1 to 100 are expected')
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local large_from = tonumber(ARGV[2])
local jobs, ids = {}, {}
for index = 3, #ARGV do
  local packed = ARGV[index]
  if #packed < HEAD_LENGTH then
    return redis.error_reply('INVALID jobs: one is too short')
  end
  local job = {}
  job.id, job.flags, job.priority, job.due, job.delay, job.unique_for = struct.unpack(HEAD, packed)
  local starts = HEAD_LENGTH + 1
  job.unique = ''
  if is_set(job.flags, IS_UNIQUE) then
    job.unique = string.sub(packed, starts, starts + 15)
    starts = starts + 16
  end
  job.limit = ''
  if is_set(job.flags, IS_LIMITED) then
    job.limit = string.sub(packed, starts, starts + LIMIT_LENGTH - 1)
    starts = starts + LIMIT_LENGTH
  end
  job.body = string.sub(packed, starts)
  if job.priority > 9 or not (job.due >= 0 and job.due < BAND and job.delay >= 0 and job.delay < BAND and job.unique_for >= 0) then
    return redis.error_reply('INVALID jobs: priority, due, delay or unique_for is out of range')
  end
  jobs[#jobs + 1] = job
  ids[#ids + 1] = job.id
end

local known = redis.call('HMGET', BODY, unpack(ids))
local reply, seen = {}, {}
local bodies, larges, pending, scheduled, limited = {}, {}, {}, {}, {}
local taken, earliest = 0, nil
for index, job in ipairs(jobs) do
  local result, holder = 0, ''
  if known[index] or seen[job.id] then
    result = 1
  elseif job.unique ~= '' then
    local other = unique_holder(UNIQUE, job.unique, now)
    if other then
      result, holder = 2, other
    else
      local ends = job.unique_for > 0 and now + job.unique_for or 0
      redis.call('HSET', UNIQUE, job.unique, struct.pack('<c16d', job.id, ends))
    end
  end
  if result == 0 then
    seen[job.id] = true
    taken = taken + 1
    local flags = job.flags
    if #job.body >= large_from then
      flags = flags + IS_LARGE
      larges[#larges + 1] = job.id
      larges[#larges + 1] = job.body
      job.body = ''
    end
    bodies[#bodies + 1] = job.id
    bodies[#bodies + 1] = string.char(flags, job.priority) .. job.unique .. job.limit .. job.body
    local due = math.max(job.due, job.delay > 0 and now + job.delay or 0)
    if due > now then
      scheduled[#scheduled + 1] = due
      scheduled[#scheduled + 1] = job.id
      earliest = math.min(earliest or due, due)
    elseif job.limit ~= '' then
      limited[#limited + 1] = { job.id, bodies[#bodies] }
    else
      pending[#pending + 1] = pending_score(job.priority, now)
      pending[#pending + 1] = job.id
    end
  end
  reply[#reply + 1] = result
  reply[#reply + 1] = holder
end
if taken == 0 then
  return reply
end
redis.call('HSET', BODY, unpack(bodies))
if #larges > 0 then
  redis.call('HSET', LARGE_BODY, unpack(larges))
end
local wakes = #pending > 0
if #pending > 0 then
  redis.call('ZADD', PENDING, unpack(pending))
end
if #limited > 0 then
  local queue = { now = now, virtual = tonumber(redis.call('HGET', CONF, 'virtual')) or now }
  for _, job in ipairs(limited) do
    local runs = admit(queue, job[1], job[2], unpack_meta(nil), read_limit(job[2]))
    wakes = wakes or runs
  end
  redis.call('HSETNX', CONF, 'virtual', queue.virtual)
end
if #scheduled > 0 then
  local first = redis.call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')
  wakes = wakes or not first[2] or earliest < tonumber(first[2])
  redis.call('ZADD', SCHEDULED, unpack(scheduled))
end
redis.call('HINCRBY', CONF, 'enqueued', taken)
if wakes then
  wake_one(WAKE)
end
return reply
