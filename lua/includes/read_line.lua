--- @include "take_turn"
--- @include "quota_in_force"
-- read_line(now, run, caller_clock): the tenant's settings and state at this moment; writes nothing.
-- `now` (us) and `run` replace the server's own clock and run id when a test passes them.
-- Scores below -BAND belong to called sessions, from there to 0 to admitted ones, above 0 to waiting ones.
local BAND = 100000000000000
local CONFIG = {
  'version', 'generation', 'quota', 'rate', 'waiting_ttl', 'session_ttl', 'session_max', 'confirm_within',
  'claim_within', 'return_within', 'leave_hold', 'recovery_hold', 'clock_step', 'method', 'closed', 'renew',
  'join_limit', 'worthless', 'keep', 'turn', 'turns_at', 'window', 'reserved',
  'lowest',
}
local STATE = {
  'clock', 'last', 'sequence', 'epoch', 'closed_until', 'place', 'tokens', 'unconfirmed', 'sampled',
  'sampled_called', 'fast', 'slow', 'samples', 'joined', 'called', 'admitted', 'abandoned', 'missed', 'ended',
  'left', 'revoked', 'restored', 'limited', 'waited_ms', 'estimates', 'estimate_error_ms', 'steered', 'run', 'formers',
}

-- server_now(now): the server's time, us.
local function server_now(now)
  local time = redis.call('TIME')
  return tonumber(now) or time[1] * 1000000 + time[2]
end

local function read_line(now, run, caller_clock)
  local line = { config = {}, state = {}, formers = {}, tallies = {} }
  local values = redis.call('HMGET', KEYS[4], unpack(CONFIG))
  if not values[1] then
    return nil
  end
  for index, name in ipairs(CONFIG) do
    line.config[name] = tonumber(values[index]) or 0
  end
  line.now = server_now(now)
  line.run = run ~= '' and run or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  values = redis.call('HMGET', KEYS[3], unpack(STATE))
  line.missing = not values[1]
  line.before = values
  for index, name in ipairs(STATE) do
    line.state[name] = tonumber(values[index]) or 0
  end
  line.state.run = values[#STATE - 1] or ''
  line.state.formers = values[#STATE] or ''
  local state = line.state
  for epoch, ended in string.gmatch(state.formers, '(%d+):(%d+)') do
    line.formers[tonumber(epoch)] = tonumber(ended)
  end
  if line.missing then
    state.clock = caller_clock > 0 and caller_clock * 1000 or line.now
    line.elapsed = 0
  else
    line.elapsed = math.max(0, math.min(line.now - state.last, line.config.clock_step * 1000))
    state.clock = math.max(state.clock + line.elapsed, caller_clock * 1000)
  end
  state.last = line.now
  line.clock = math.floor(state.clock / 1000)
  local turns_at = line.config.turns_at
  if turns_at > 0 and line.now >= turns_at then
    take_turn(line)
  end
  line.config.most = line.config.quota
  line.config.quota = quota_in_force(line)
  return line
end
