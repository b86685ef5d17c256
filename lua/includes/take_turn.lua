--- @include "phase_at"
-- take_turn(line): the line goes on under the settings of the phase that has begun; open_line writes them. Only the next
-- phase is ever looked for, so that a server's clock which goes back does not bring an earlier one back.
local function take_turn(line)
  local config = line.config
  local phase, turns_at = phase_at(cjson.decode(redis.call('HGET', KEYS[4], 'turns')), line.now)
  if not line.missing then
    config.worthless = math.max(config.worthless, line.clock - config.return_within)
  end
  for _, name in ipairs(NUMBERS) do
    config[name] = phase[name]
  end
  config.turn, config.turns_at = phase.at * 1000000, turns_at
  line.phase = phase
end
