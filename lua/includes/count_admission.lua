--- @include "tally"
--- @include "arrival"
-- count_admission(line, visit): counts a visitor who is let in, the wait, and how wrong the wait was foretold.
local function count_admission(line, visit)
  local state = line.state
  state.admitted = state.admitted + 1
  local waited = math.max(0, math.floor((line.now - arrival(line, visit.place)) / 1000))
  state.waited_ms = state.waited_ms + waited
  tally(line, 'wait_times', waited)
  if visit.estimate > 0 then
    state.estimates = state.estimates + 1
    local wrong = math.abs(line.clock - visit.estimate)
    state.estimate_error_ms = state.estimate_error_ms + wrong
    tally(line, 'estimate_errors', wrong)
  end
end
