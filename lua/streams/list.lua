#!lua flags=no-writes
--[[
list: ids of the jobs that are pending or active, some at a time.
KEYS     1 body       hash    id -> head and what the worker needs
         2 large      hash    id -> what the worker needs, where that is large
         3 meta       hash    id -> lease, attempts, error, packed
         4 result     hash    id -> what a completed job left
         5 unique     hash    unique key -> holder and end
         6 entries    hash    id -> stream and entry of a job that is pending or active
         7 scheduled  zset    id -> wall ms from when it may run
         8 retry      zset    id -> wall ms from when it may run again
         9 parked     zset    id -> wall ms since when
         10 dead       zset    id -> wall ms since when
         11 completed  zset    id -> wall ms until when it is kept
         12 cancelled  zset    id -> wall ms since when
         13 conf       hash    clocks, pause, counters, which streams there are
         14 wake       list    at most one token for an idle worker
         15 held       zset    0 -> limit key, place and id of a job whose key is at its limit
         16 keys       hash    limit key -> slots given and wanted, tag, tokens
         17 rates      zset    limit key -> wall ms from when another job of it may run
         18 outbox     hash    kind and id -> what is handed over to another queue
         19 outgoing   zset    the same -> wall ms from when it is to be delivered (again)
         20 blocked    zset    id -> wall ms since when it waits for its parts
         21 parts      hash    id -> its parts, packed, and what goes with them
         22 pending9   stream  job and score of the pending and active ones of this priority
         23 pending8   stream
         24 pending7   stream
         25 pending6   stream
         26 pending5   stream
         27 pending4   stream
         28 pending3   stream
         29 pending2   stream
         30 pending1   stream
         31 pending0   stream
         32 suspects   stream  the same of those that have lost a lease
ARGV     1 state      text    pending or active
         2 limit      int     1 to 1,000
         3 stream     int     the stream in which to go on: 0 suspects, then from the highest priority on
         4 entry      text    the last entry of it that was looked at, empty: none
RETURNS  stream and entry with which to go on, -1 and nothing at the end, and ids of jobs, the next to be claimed first; 1,000 are looked at
COST     O(looked at * log N)
]]
--- @include "queue/places_seen"
local LOOKED_AT = 1000
local state, limit, index, entry = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if (state ~= 'pending' and state ~= 'active') or not (limit and limit >= 1 and limit <= 1000 and index) then
  return redis.error_reply('INVALID state, limit or stream')
end
local order = {}
for _, band in ipairs(streams.all()) do
  table.insert(order, band == OF_SUSPECTS and 1 or #order + 1, band)
end
local ids, left = {}, LOOKED_AT
for _, band in ipairs(order) do
  local number = (band + 1) % (OF_SUSPECTS + 1)
  if number >= index then
    local from = number == index and entry ~= '' and '(' .. entry or '-'
    local to = state == 'active' and streams.delivered_to(band) or '+'
    local found = redis.call('XRANGE', STREAMS[band], from, to, 'COUNT', left)
    for _, each in ipairs(found) do
      local id = string.sub(each[2][2], 1, 16)
      if places.find(id) == state then
        ids[#ids + 1] = id
      end
      left = left - 1
      if #ids == limit or left == 0 then
        return { number, each[1], unpack(ids) }
      end
    end
  end
end
return { -1, '', unpack(ids) }
