--- @include "retire_ended"
--- @include "session_end"
-- admit_waiting(line, present): gives each free slot to the lowest place in line; `present` maps the ids of this call's
-- visitors to their index: they are admitted at once, the others are called and hold the slot for claim_within.
-- Returns the ids that were taken, mapped to their new score and end.
local function admit_waiting(line, present)
  local config, state, taken = line.config, line.state, {}
  line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
  if line.closed then
    return taken
  end
  local left = 500
  for _ = 1, 4 do
    local room = math.min(left, math.floor(state.tokens), config.quota - line.active)
    if config.method == 1 then
      room = left
    end
    if room < 1 then
      break
    end
    local found = redis.call('ZRANGE', KEYS[1], line.active, line.active + room - 1, 'WITHSCORES')
    if #found == 0 then
      break
    end
    local ids, places = {}, {}
    for index = 1, #found, 2 do
      ids[#ids + 1] = found[index]
      places[#places + 1] = tonumber(found[index + 1])
    end
    local ends = redis.call('ZMSCORE', KEYS[2], unpack(ids))
    local sessions, pool, ended, ended_places = {}, {}, {}, {}
    for index, id in ipairs(ids) do
      if tonumber(ends[index]) <= line.clock then
        ended[#ended + 1] = id
        ended_places[#ended_places + 1] = places[index]
      else
        local score, session_ends = -places[index], line.clock + config.claim_within
        if present[id] then
          score, session_ends = -line.clock, session_end(line, line.clock)
        end
        taken[id] = { score = score, ends = session_ends }
        sessions[#sessions + 1] = score
        sessions[#sessions + 1] = id
        pool[#pool + 1] = session_ends
        pool[#pool + 1] = id
      end
    end
    if #sessions > 0 then
      redis.call('ZADD', KEYS[1], unpack(sessions))
      redis.call('ZADD', KEYS[2], unpack(pool))
      local count = #sessions / 2
      line.active = line.active + count
      left = left - count
      state.called = state.called + count
      if config.rate >= 0 and config.method ~= 1 then
        state.tokens = state.tokens - count
      end
    end
    if #ended == 0 then
      break
    end
    retire_ended(line, ended, ended_places)
  end
  return taken
end
