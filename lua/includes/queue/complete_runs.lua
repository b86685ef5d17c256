--- @include "queue/places"
--- @include "queue/close_queue"
--- @include "queue/plain_meta"
--- @include "queue/rare"
--- @include "queue/remove"
-- complete_runs(queue, worker, blob, answers): carries out the runs that completed and left nothing (pairs of an id and a fence), and
-- puts into `answers` for each 0 done or 1 stale.
local PAIR = 24

local function complete_runs(queue, worker, blob, answers)
  local ids, gone, seen = {}, {}, {}
  for at = 1, #blob, PAIR do
    ids[#ids + 1] = string.sub(blob, at, at + 15)
  end
  if #ids == 0 then
    return
  end
  local metas, stale, bytes = redis.call('HMGET', META, unpack(ids)), 0, 0
  for index, id in ipairs(ids) do
    local packed = metas[index]
    local at = (index - 1) * PAIR + 17
    if not packed or seen[id] or not is_held(packed, string.sub(blob, at, at + 7), worker) then
      answers[index] = 1
      stale = stale + 1
    else
      seen[id] = true
      answers[index] = 0
      bytes = bytes + bytes_of(packed)
      if not is_plain(packed) then
        rare().end_special(queue, id, packed)
      end
      gone[#gone + 1] = id
    end
  end
  if #gone > 0 then
    places.end_leases(gone)
    remove(gone)
    count(queue, 'completed', #gone)
    count(queue, 'bytes', -bytes)
  end
  if stale > 0 then
    count(queue, 'stale', stale)
  end
end
