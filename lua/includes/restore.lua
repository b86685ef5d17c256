--- @include "put"
--- @include "promised_end"
-- restore(line, book, visit): puts a visit of a former epoch back as it was, admitted since then.
local function restore(line, book, visit)
  put(book, visit.id, -visit.since, promised_end(line, visit))
  line.state.restored = line.state.restored + 1
end
