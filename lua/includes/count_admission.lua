-- count_admission(line, visit): counts a visitor who is let in, the wait, and how wrong the wait was foretold.
local function count_admission(line, visit)
  local state = line.state
  state.admitted = state.admitted + 1
  state.waited_ms = state.waited_ms + math.max(0, math.floor((line.now - visit.place) / 1000))
  if visit.estimate > 0 then
    state.estimates = state.estimates + 1
    state.estimate_error_ms = state.estimate_error_ms + math.abs(line.clock - visit.estimate)
  end
end
