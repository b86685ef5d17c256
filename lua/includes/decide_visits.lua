--- @include "read_line"
--- @include "read_visits"
--- @include "weigh_tickets"
--- @include "open_line"
--- @include "empty_line"
--- @include "look_up"
--- @include "purge_ended"
--- @include "touch"
--- @include "put_back"
--- @include "lot_of"
--- @include "admit_waiting"
--- @include "receive"
--- @include "write_line"
--- @include "line_reply"
-- decide_visits(full): the decision on a batch of visits; with `full` the server has no memory left, so nobody new is stored.
local function decide_visits(full)
  local known_version, known_generation = tonumber(ARGV[4]), tonumber(ARGV[5])
  local visits, problem = read_visits(tonumber(ARGV[6]), ARGV[7])
  if not visits then
    return redis.error_reply(problem)
  end
  local caller_clock = tonumber(ARGV[3])
  local line = read_line(ARGV[1], ARGV[2], caller_clock)
  if not line or line.config.version < known_version or line.config.generation < known_generation then
    return { line and line.config.version or -1 }
  end
  local evidence, known, place, sequence, generation = weigh_tickets(line, visits)
  for _, visit in ipairs(visits) do
    if visit.ticketed and visit.state == 0 and visit.place % 1000000 == 0 then
      -- Who confirms in a shuffled pre-queue is given an id now, or the best of many free ones could be chosen.
      visit.id, visit.renamed = visit.fresh, true
    end
  end
  open_line(line, known or caller_clock > 0, evidence, place, sequence)
  if generation > line.config.generation then
    empty_line(line, generation)
  end
  local book = look_up(line, visits)
  purge_ended(line, 200)
  local present = {}
  for _, visit in ipairs(visits) do
    if visit.ticketed then
      if book.score[visit.id] then
        visit.met = true
        touch(line, book, visit)
      elseif full and (visit.state == 0 or visit.state == 3) then
        visit.verdict = FULL
      else
        visit.met = put_back(line, book, visit)
      end
      present[visit.id] = visit.met and visit or nil
    end
  end
  for id, call in pairs(admit_waiting(line, present)) do
    if present[id] then
      book.score[id], book.ends[id] = call.score, call.ends
      count_admission(line, present[id])
    end
  end
  for _, visit in ipairs(visits) do
    if not (visit.met or visit.verdict) then
      visit.verdict = (visit.no_new or visit.renamed) and ENDED or receive(line, book, visit, full)
    end
  end
  write_line(line)
  local reply = line_reply(line)
  local window = line.config.window * 1000000
  for _, visit in ipairs(visits) do
    local verdict, new, since, ends, position = visit.verdict, visit.drawn and 1 or 0, 0, visit.drawn or 0, -1
    local visit_place = visit.drawn and visit.place or 0
    if visit.met then
      local score = book.score[visit.id]
      new, ends = visit.renamed and 1 or 0, book.ends[visit.id]
      if score > 0 then
        local is_hidden = window > 0 and math.floor(score / 1000000) * 1000000 == window
        verdict, visit_place = WAITING, is_hidden and window or score
        if not (line.recovering or is_hidden) then
          position = redis.call('ZRANK', KEYS[1], visit.id) - line.active + 1
        end
      else
        verdict, visit_place, since, position = ADMITTED, visit.place, -score, 0
        if visit_place % 1000000 == 0 and visit_place ~= window then
          visit_place = lot_of(line, visit) or visit_place
        end
      end
    elseif verdict == CALLED then
      ends, position = book.ends[visit.fresh], 0
    elseif verdict == UNCONFIRMED and not line.recovering and line.config.window == 0 then
      position = redis.call('ZCOUNT', KEYS[1], '(0', '(' .. string.format('%d', visit_place)) + 1
    end
    for _, number in ipairs({ verdict, new, visit_place, since, ends, position }) do
      reply[#reply + 1] = number
    end
  end
  return reply
end
