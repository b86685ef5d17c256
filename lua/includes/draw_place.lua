-- draw_place(line): the next place by arrival. None lies in the second in which a shuffled pre-queue opens, which may come
-- before its time after a loss, and none is a whole second: in a ticket, that names such a pre-queue.
local function draw_place(line)
  local place = math.max(line.now, line.state.place + 1)
  local reserved = line.config.reserved * 1000000
  if reserved > 0 and place >= reserved and place < reserved + 1000000 then
    place = reserved + 1000000
  end
  if place % 1000000 == 0 then
    place = place + 1
  end
  line.state.place = place
  return place
end
