-- What scripts read of a phase, as LineSettings names it.
local NUMBERS = {
  'quota', 'rate', 'waiting_ttl', 'session_ttl', 'session_max', 'confirm_within', 'claim_within', 'return_within',
  'leave_hold', 'recovery_hold', 'clock_step', 'method', 'closed', 'renew', 'join_limit', 'window',
  'reserved', 'lowest',
}

-- phase_at(turns, moment): the last phase that has begun at `moment` (us), nil before the first turn, and when the next
-- one begins (us), 0: never.
local function phase_at(turns, moment)
  local found, turns_at = nil, 0
  for _, phase in ipairs(turns) do
    local begins = phase.at * 1000000
    if begins <= moment then
      found = phase
    elseif turns_at == 0 then
      turns_at = begins
    end
  end
  return found, turns_at
end

-- phase_fields(phase, turns_at): the fields of `config` that a phase in force fills, name before value.
local function phase_fields(phase, turns_at)
  local values = { 'turn', phase.at * 1000000, 'turns_at', turns_at }
  for _, name in ipairs(NUMBERS) do
    values[#values + 1] = name
    values[#values + 1] = phase[name]
  end
  return values
end
