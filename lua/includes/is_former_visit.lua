--- @include "promised_end"
-- is_former_visit(line, visit): whether the ticket proves a visit that an earlier epoch admitted and that has not ended.
local function is_former_visit(line, visit)
  return visit.state == 2 and line.formers[visit.epoch] and visit.ends > line.clock
    and promised_end(line, visit) > line.clock
end
