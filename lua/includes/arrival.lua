-- A place at the front is its own place this much earlier, us: before every place of somebody who was not moved, in the order
-- in which those who were had waited, and the same whoever works it out. No line lasts for half of these 31 years.
local FRONT = 1000000000000000

-- is_moved(line, place): whether it is a place at the front.
local function is_moved(line, place)
  return place < line.now - FRONT / 2
end

-- arrival(line, place): the place at which a visitor with this one began to wait.
local function arrival(line, place)
  return is_moved(line, place) and place + FRONT or place
end
