--- @include "session_end"
-- promised_end(line, visit): when the visit of an admitted ticket ends if it is seen now, and not before the end that
-- its ticket names: settings that became shorter meanwhile take nothing back but what is past session_max.
local function promised_end(line, visit)
  local ends = math.max(visit.ends, session_end(line, visit.since))
  local longest = line.config.session_max
  return longest == 0 and ends or math.min(ends, visit.since + longest)
end
