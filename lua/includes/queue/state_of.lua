--- @include "queue/step_keys"
-- state_of(id): the name of the state that a job is in, and the set that says so; nil when the queue does not have it.
local STATES = {
  { 'pending', PENDING }, { 'active', ACTIVE }, { 'scheduled', SCHEDULED }, { 'retry', RETRY }, { 'pending', SUSPECTS },
  { 'dead', DEAD }, { 'completed', COMPLETED }, { 'cancelled', CANCELLED }, { 'parked', PARKED },
}

local function state_of(id)
  for _, state in ipairs(STATES) do
    local score = redis.call('ZSCORE', state[2], id)
    if score then
      return state[1], state[2], tonumber(score)
    end
  end
  return nil
end
