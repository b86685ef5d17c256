--- @include "retire_ended"
-- look_up(line, visits): the book of the batch's visitors, by id: score, ends, gone, spent. Those who have ended are
-- retired first, before their tickets are read.
local function look_up(line, visits)
  local ids, seen = {}, {}
  local book = { score = {}, ends = {}, gone = {}, spent = {} }
  for _, visit in ipairs(visits) do
    if visit.ticketed and not seen[visit.id] then
      seen[visit.id] = true
      ids[#ids + 1] = visit.id
    end
  end
  if #ids == 0 then
    return book
  end
  local scores, ends = redis.call('ZMSCORE', KEYS[1], unpack(ids)), redis.call('ZMSCORE', KEYS[2], unpack(ids))
  local ended, ended_scores = {}, {}
  for index, id in ipairs(ids) do
    local score, session_ends = tonumber(scores[index]), tonumber(ends[index])
    if score and session_ends <= line.clock then
      ended[#ended + 1] = id
      ended_scores[#ended_scores + 1] = score
    else
      book.score[id], book.ends[id] = score, session_ends
    end
  end
  if #ended > 0 then
    retire_ended(line, ended, ended_scores)
  end
  local gone, spent = redis.call('ZMSCORE', KEYS[5], unpack(ids)), redis.call('ZMSCORE', KEYS[6], unpack(ids))
  for index, id in ipairs(ids) do
    book.gone[id], book.spent[id] = gone[index], spent[index]
  end
  return book
end
