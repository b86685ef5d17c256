--- @include "retire_ended"
-- purge_ended(line, most): removes at most `most` sessions that have ended; true when others remain.
local function purge_ended(line, most)
  local ids = redis.call('ZRANGE', KEYS[2], '-inf', line.clock, 'BYSCORE', 'LIMIT', 0, most)
  if #ids == 0 then
    return false
  end
  local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
  for index, score in ipairs(scores) do
    scores[index] = tonumber(score)
  end
  retire_ended(line, ids, scores)
  return #ids == most
end
