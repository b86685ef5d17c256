--- @include "is_former_visit"
--- @include "restore"
--- @include "count_admission"
--- @include "session_end"
--- @include "lot_of"
--- @include "draw_place"
-- put_back(line, book, visit): a ticket that the store does not know goes back where it belongs; false when it has ended.
local function put_back(line, book, visit)
  local config, clock = line.config, line.clock
  local id = visit.id
  if book.gone[id] or visit.generation ~= config.generation or visit.ends <= config.worthless then
    return false
  end
  if is_former_visit(line, visit) then
    restore(line, book, visit)
    return true
  end
  local former, spent = line.formers[visit.epoch], book.spent[id]
  local in_line = false
  if visit.state == 0 then
    in_line = not spent and visit.ends > clock
  elseif visit.state == 1 then
    in_line = not spent and visit.ends + config.return_within > clock
  elseif visit.state == 2 then
    in_line = not spent and (former and visit.ends + config.return_within > clock or not former and visit.ends > clock)
  elseif not spent and visit.ends + config.return_within > clock then
    local active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
    if not line.closed and active < config.quota then
      put(book, id, -clock, session_end(line, clock))
      count_admission(line, visit)
      return true
    end
    in_line = true
  end
  if in_line then
    local place = lot_of(line, visit) or visit.place
    if place % 1000000 == 0 then
      place = draw_place(line)
    end
    put(book, id, place, clock + config.waiting_ttl)
    line.state.place = math.max(line.state.place, place)
    local counter = visit.state == 0 and 'joined' or 'restored'
    line.state[counter] = line.state[counter] + 1
  end
  return in_line
end
