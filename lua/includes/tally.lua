-- tally(line, name, ms): counts a time in the state's field `name`, a histogram: how many fell into each bucket, and the
-- sum in ms, as text. write_line writes it. The bounds, seconds, are those of `BOUNDS` in results.py.
local BOUNDS = { 1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400 }

local function tally(line, name, ms)
  local known = line.tallies[name]
  if not known then
    known = {}
    for number in string.gmatch(redis.call('HGET', KEYS[3], name) or '', '%d+') do
      known[#known + 1] = tonumber(number)
    end
    for index = #known + 1, #BOUNDS + 2 do
      known[index] = 0
    end
    line.tallies[name] = known
  end
  local bucket = 1
  while BOUNDS[bucket] and ms > BOUNDS[bucket] * 1000 do
    bucket = bucket + 1
  end
  known[bucket] = known[bucket] + 1
  known[#known] = known[#known] + ms
end
