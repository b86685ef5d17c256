#!lua flags=allow-oom
--[[
step: finishes runs, tends the queue and claims jobs in one call; a call with the number of the lane's last one changes nothing
and is answered as that was.
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
         24 calls     hash    worker and lane -> the last call's number and reply
         25 workers   zset    worker -> wall ms of its last call
ARGV     1 now        us      empty: the server's time
         2 run        text    empty: the server's run id
         3 worker     16 bytes
         4 lane       int     0 to 15
         5 call       int     its number in this lane
         6 claim      int     most jobs to claim, 0 to 64
         7 suspects   int     1: one of them may be a suspect
         8 lease      ms
         9 hard       ms      past this no lease is renewed
         10 max_lost  int     leases that a job may lose
         11 completed packed  0 to 64 pairs of an id and a fence: runs that completed and leave nothing
         12 finishes  packed  0 to 64 other ends of runs: see pack_finishes in queue_scripts.py
RETURNS  now, 1 when more could be claimed, wall ms from when there may be something to claim again: a job that is due later, a key or the queue by its rate (0 none), 1 when paused, the fence, how many
         entries of the outbox are to be delivered,
         an array with 0 done, 1 stale or 2 cancelled for each completed and then each other finish, and of each claimed job id, body, attempts, lost and wall ms
         since when it was pending
COST     O((finishes + claim + 100) * log N)
]]
--- @include "queue/open_queue"
--- @include "queue/complete_runs"
--- @include "queue/attend"
--- @include "queue/claim_jobs"
--- @include "queue/rate"
--- @include "queue/wake"
local CALLS, WORKERS = KEYS[JOB_KEYS + 1], KEYS[JOB_KEYS + 2]
local LANES, FORGET_AFTER = 16, 3600000
local worker, lane, call, completed, finishes = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[11], ARGV[12]
local claim = { most = tonumber(ARGV[6]), suspects = ARGV[7] == '1', lease = tonumber(ARGV[8]), hard = tonumber(ARGV[9]) }
local max_lost = tonumber(ARGV[10])
if #worker ~= 16 or not (lane and lane >= 0 and lane < LANES and call) then
  return redis.error_reply('INVALID worker, lane or call')
end
if #completed % PAIR ~= 0 or #completed > 64 * PAIR then
  return redis.error_reply('INVALID completed: 0 to 64 pairs are expected')
end
if not (claim.most and claim.most >= 0 and claim.most <= 64 and claim.lease and claim.lease > 0 and claim.hard and max_lost) then
  return redis.error_reply('INVALID claim, lease, hard or max_lost')
end

local function answer(kept, bodies)
  local reply = { kept.now, kept.more, kept.next_due, kept.paused, kept.fence, kept.outgoing, kept.finished }
  for index, job in ipairs(kept.claimed) do
    if bodies[index] then
      reply[#reply + 1] = job[1]
      reply[#reply + 1] = bodies[index]
      reply[#reply + 1] = job[2]
      reply[#reply + 1] = job[3]
      reply[#reply + 1] = job[4]
    end
  end
  return reply
end

local function keep(kept)
  redis.call('HSET', CALLS, worker .. string.char(lane), struct.pack('<d', call) .. cmsgpack.pack(kept))
end

-- The bodies are not kept with a reply but read anew; a job that has ended since is left out.
local function repeat_answer(kept)
  local ids = {}
  for index, job in ipairs(kept.claimed) do
    ids[index] = job[1]
  end
  return answer(kept, #ids > 0 and redis.call('HMGET', BODY, unpack(ids)) or {})
end

local before = redis.call('HGET', CALLS, worker .. string.char(lane))
if before then
  local last = struct.unpack('<d', before)
  if last == call then
    return repeat_answer(cmsgpack.unpack(string.sub(before, 9)))
  elseif last > call then
    -- It was on its way for so long that the lane has gone on; what it would claim, nobody would run.
    return redis.error_reply('INVALID call: the lane has made a later one')
  end
end

local queue = open_queue(CONF, ARGV[1], ARGV[2])
local kept = { finished = {} }
complete_runs(queue, worker, completed, kept.finished)
if finishes ~= '' then
  rare().finish_runs(queue, worker, finishes, kept.finished)
end
kept.next_due = attend(queue, max_lost)
local bodies = {}
kept.claimed = {}
if claim.most > 0 and not queue.is_paused then
  claim.most = math.min(claim.most, math.floor(tokens_now(queue)))
  if claim.most > 0 then
    kept.claimed, bodies = claim_jobs(queue, worker, claim)
    take_tokens(queue, CONF, #kept.claimed)
  end
end
local left, suspected = places.count_pending(), places.count_suspects()
if left == 0 then
  -- Jobs with and without a key have the same beginning again.
  queue.virtual = math.max(queue.virtual, queue.now)
end
local may_take_one = claim.suspects
for _, job in ipairs(kept.claimed) do
  may_take_one = may_take_one and job[3] == 0
end
kept.now, kept.fence, kept.paused = queue.now, queue.fence, queue.is_paused and 1 or 0
local may_begin = next_token(queue)
kept.more = ((left > 0 or (suspected > 0 and may_take_one)) and not queue.is_paused and may_begin == 0) and 1 or 0
if rare_functions then
  -- They may have changed what is due.
  kept.next_due = next_due()
end
if may_begin > 0 and left + suspected > 0 then
  kept.next_due = math.min(kept.next_due, may_begin)
  if #kept.claimed > 0 then
    -- Who took the last token may be busy when the next one comes.
    queue.earliest = math.min(queue.earliest or may_begin, may_begin)
  end
end
if kept.next_due == math.huge then
  kept.next_due = 0
end
-- Somebody idle is woken for what is left, for suspects that are new or whose turn came, and to wait for less long. A worker that
-- may take no suspect is not woken by those that it has left before.
local is_for_others = suspected > 0 and (queue.has_new_suspects or not may_take_one and claim.suspects)
local is_earlier = queue.earliest and queue.earliest == kept.next_due
if ((left > 0 or is_for_others) and may_begin == 0 or is_earlier) and not queue.is_paused then
  wake_one(WAKE)
end
kept.outgoing = redis.call('ZCOUNT', OUTGOING, '-inf', queue.now)
redis.call('ZADD', WORKERS, queue.now, worker)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '-inf', queue.now - FORGET_AFTER, 'LIMIT', 0, 5)) do
  redis.call('ZREM', WORKERS, gone)
  for number = 0, LANES - 1 do
    redis.call('HDEL', CALLS, gone .. string.char(number))
  end
end
close_queue(queue, CONF)
keep(kept)
return answer(kept, bodies)
