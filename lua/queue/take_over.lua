#!lua
--[[
take_over: takes in the jobs of entries of other queues' outboxes, all of them or none, each entry once however often it comes.
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
         24 seen      zset    name of an entry that has arrived -> wall ms until when that is remembered
ARGV     1 now        us      empty: the server's time
         2 large_from bytes   bodies of this size go into `large`
         3 remember   ms      for how long an entry is known
         4 arrival    packed  1 to 20 times: name, then each job with its length: see pack_job in queue_scripts.py
RETURNS  how many jobs were taken in; one that the queue has, or whose unique key another one holds, is not
COST     O(count * log N)
]]
--- @include "queue/take_in"
local SEEN = KEYS[JOB_KEYS + 1]
local remember = tonumber(ARGV[3])
if #ARGV < 4 or #ARGV > 23 or not remember then
  return redis.error_reply('INVALID arrivals: 1 to 20 are expected')
end
local entries = {}
for index = 4, #ARGV do
  local packed, at = ARGV[index], 18
  local all = {}
  while at <= #packed do
    all[#all + 1], at = struct.unpack('<Ic0', packed, at)
  end
  local jobs, ids = read_jobs(all)
  if not jobs or #jobs == 0 then
    return redis.error_reply('INVALID arrivals: ' .. (ids or 'one has no jobs'))
  end
  entries[#entries + 1] = { name = string.sub(packed, 1, 17), jobs = jobs, ids = ids }
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', SEEN, name)
end
local taken = 0
for _, entry in ipairs(entries) do
  if not redis.call('ZSCORE', SEEN, entry.name) then
    -- They follow from jobs that were taken in; parts that found no room would keep theirs waiting for ever.
    local reply = take_in(entry.jobs, entry.ids, now, tonumber(ARGV[2]), false)
    for place = 1, #reply, 2 do
      taken = taken + (reply[place] == 0 and 1 or 0)
    end
  end
  redis.call('ZADD', SEEN, now + remember, entry.name)
end
return taken
