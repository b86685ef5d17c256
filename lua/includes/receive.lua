--- @include "count_join"
--- @include "draw_place"
--- @include "put"
-- The verdicts on a visit, as `Verdict` in results.py numbers them.
local UNCONFIRMED, WAITING, ADMITTED, CALLED, ENDED, LIMITED, REJECTED, FULL = 0, 1, 2, 3, 4, 5, 6, 7

-- receive(line, book, visit, full): first contact, called at once when the room is open, nobody is in line and nobody is about to confirm a place that
-- was drawn because the room was full; else a place is drawn and nothing is stored. A shuffled pre-queue draws none yet.
local function receive(line, book, visit, full)
  local config, state = line.config, line.state
  if config.method == 2 then
    return REJECTED
  end
  if full then
    return FULL
  end
  if not count_join(line, visit.first, visit.second) then
    return LIMITED
  end
  local place = config.window > 0 and config.window * 1000000 or draw_place(line)
  visit.place, visit.drawn = place, line.clock + config.confirm_within
  if config.method == 1 then
    return UNCONFIRMED
  end
  local active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
  local waiting = redis.call('ZCARD', KEYS[1]) - active
  if line.closed or waiting > 0 or active >= config.quota or state.tokens < 1 then
    state.unconfirmed = line.clock
    return UNCONFIRMED
  end
  local unseen = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%d', -BAND))
  if line.clock - state.unconfirmed < config.confirm_within or unseen >= math.max(10, math.floor(config.quota / 10)) then
    return UNCONFIRMED
  end
  put(book, visit.fresh, -place, line.clock + math.min(60000, config.claim_within))
  state.called = state.called + 1
  state.joined = state.joined + 1
  if config.rate >= 0 then
    state.tokens = state.tokens - 1
  end
  return CALLED
end
