--- @include "is_former_visit"
--- @include "restore"
--- @include "count_admission"
--- @include "session_end"
--- @include "arrival"
-- touch(line, book, visit): a visitor whom the store knows: called ones are admitted, holds are renewed by a quarter or
-- more. An end that the ticket names and the store does not, shortened by a tab's beacon or lost in a failover, is given
-- back whole; so is a place at the front that its ticket proves.
local function touch(line, book, visit)
  local config, id = line.config, visit.id
  local score, ends = book.score[id], book.ends[id]
  if book.gone[id] then
    redis.call('ZREM', KEYS[5], id)
    book.gone[id] = nil
  end
  local is_admitted = score > -BAND and score < 0
  if not is_admitted and is_former_visit(line, visit) then
    restore(line, book, visit)
    return
  end
  if score < -BAND then
    put(book, id, -line.clock, session_end(line, line.clock))
    count_admission(line, visit)
    return
  end
  if score > 0 then
    if is_moved(line, visit.place) and visit.place < score then
      redis.call('ZADD', KEYS[1], visit.place, id)
      book.score[id] = visit.place
    end
    local later = line.clock + config.waiting_ttl
    if later - ends >= config.waiting_ttl / 4 then
      redis.call('ZADD', KEYS[2], later, id)
      book.ends[id] = later
    end
    return
  end
  local promised = visit.state == 2 and visit.ends or 0
  local later = math.max(session_end(line, -score), promised)
  local last = config.session_max > 0 and later == -score + config.session_max
  if later - ends >= config.session_ttl / 4 or (last or promised > ends) and later > ends then
    redis.call('ZADD', KEYS[2], later, id)
    book.ends[id] = later
  end
end
