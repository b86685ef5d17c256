--- @include "tally"
-- retire_ended(line, ids, scores): removes sessions whose end has passed; a visit goes into spent, a call in vain into
-- missed the first time and into spent the second time, a waiting one leaves no trace.
local function retire_ended(line, ids, scores)
  local spent, missed, called = {}, {}, {}
  local state = line.state
  for index, id in ipairs(ids) do
    local score = scores[index]
    if score > 0 then
      state.abandoned = state.abandoned + 1
    elseif score > -BAND then
      state.ended = state.ended + 1
      tally(line, 'visit_times', line.clock + score)
      spent[#spent + 1] = line.clock
      spent[#spent + 1] = id
    else
      called[#called + 1] = id
    end
  end
  if #called > 0 then
    local before = redis.call('ZMSCORE', KEYS[7], unpack(called))
    for index, id in ipairs(called) do
      local target = before[index] and spent or missed
      target[#target + 1] = line.clock
      target[#target + 1] = id
    end
    state.missed = state.missed + #called
  end
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('ZREM', KEYS[2], unpack(ids))
  if #spent > 0 then
    redis.call('ZADD', KEYS[6], unpack(spent))
  end
  if #missed > 0 then
    redis.call('ZADD', KEYS[7], unpack(missed))
  end
end
