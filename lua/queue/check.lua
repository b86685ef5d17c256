#!lua flags=allow-oom
--[[
check: looks whether jobs are in exactly one state with all that belongs to it, and puts right what is not, if told to.
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
         3 repair     int     1: put right what is wrong
         4 id         16 bytes, 1 to 100 times
RETURNS  for each, in order: what was wrong, empty for nothing: `no state` (becomes a suspect, or asks for a slot if it had none), `several states` (stays in the first of
         active, suspects, pending, retry, scheduled, parked, dead, cancelled, completed, blocked, held), `no body` (is removed), `no lease` (active, and
         nobody's: becomes a suspect), `no parts` (blocked, and not known by what: becomes a dead letter)
COST     O(count * log N)
]]
--- @include "queue/moves"
--- @include "queue/open_queue"
--- @include "queue/places_seen"
--- @include "queue/split"
--- @include "queue/wake"
local repairs = ARGV[3] == '1'
if #ARGV < 4 or #ARGV > 103 then
  return redis.error_reply('INVALID ids: 1 to 100 are expected')
end
local SETS = { RETRY, SCHEDULED, PARKED, DEAD, CANCELLED, COMPLETED, BLOCKED }
local queue = open_queue(CONF, ARGV[1], ARGV[2])

local function make_suspect(id, body, meta)
  if read_limit(body) and (has_flag(meta, WAITS) or not has_flag(meta, LIMITED)) then
    -- It had no slot.
    give_up(queue, id, meta)
    set_off(queue, id, body, meta, queue.now)
    return
  end
  local _, priority = read_head(body)
  meta.score, meta.lost = pending_score(priority, queue.now), math.max(meta.lost, 1)
  suspect(queue, id, meta)
end

local reply, moved = {}, 0
for index = 4, #ARGV do
  local id, wrong = ARGV[index], ''
  local found = places.all_of(id)
  for _, set in ipairs(SETS) do
    if redis.call('ZSCORE', set, id) then
      found[#found + 1] = set
    end
  end
  local body, packed = redis.call('HGET', BODY, id), redis.call('HGET', META, id)
  if is_waiting(id, packed) then
    found[#found + 1] = HELD
  end
  if not body and (#found > 0 or packed) then
    wrong = 'no body'
    if repairs then
      for _, set in ipairs(found) do
        if set == DEAD then
          leave_dead(queue, packed)
        end
        places.withdraw(set, id)
      end
      forget(queue, id, false)
    end
  elseif body and #found == 0 then
    wrong = 'no state'
    if repairs then
      make_suspect(id, body, unpack_meta(packed))
      moved = moved + 1
    end
  elseif #found > 1 then
    wrong = 'several states'
    if repairs then
      for place = 2, #found do
        if found[place] == HELD then
          give_up(queue, id, unpack_meta(packed))
        else
          if found[place] == DEAD then
            leave_dead(queue, packed)
          end
          places.withdraw(found[place], id)
        end
      end
    end
  elseif found[1] == BLOCKED and not read_split(id) then
    wrong = 'no parts'
    if repairs then
      redis.call('ZREM', BLOCKED, id)
      bury(queue, id, unpack_meta(packed), 'part', 'what its parts are is not known any more')
    end
  elseif places.lacks_lease(id, found[1], packed) then
    wrong = 'no lease'
    if repairs then
      places.withdraw(found[1], id)
      make_suspect(id, body, unpack_meta(packed))
      moved = moved + 1
    end
  end
  reply[#reply + 1] = wrong
end
if repairs then
  if moved > 0 or (queue.granted or 0) > 0 then
    wake_one(WAKE)
  end
  close_queue(queue, CONF)
end
return reply
