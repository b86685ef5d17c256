-- The settings of a queue: packed in `conf`, the defaults where there are none. QueueSettings in records.py says what they mean.
local SETTINGS, DAY = '<dddddddddd', 86400000

local function read_settings(packed)
  local s = {}
  if packed then
    s.most_bytes, s.rate, s.period, s.ageing, s.dead_age, s.dead_count, s.dead_bytes, s.cancelled_age, s.completed_count, s.parked_age =
      struct.unpack(SETTINGS, packed)
  else
    s.most_bytes, s.rate, s.period, s.ageing, s.dead_age, s.dead_count, s.dead_bytes, s.cancelled_age, s.completed_count, s.parked_age =
      0, 0, 0, 0, 90 * DAY, 10000, 0, DAY, 0, 7 * DAY
  end
  return s
end
