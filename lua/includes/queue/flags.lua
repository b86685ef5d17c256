-- The flags of a stored body, its first byte. What it is a part of takes 26 bytes, besides the name of a queue.
local IS_UNIQUE, IS_LARGE, UNTIL_START, IS_LIMITED, IS_PART, IS_JOINED = 1, 2, 4, 8, 16, 32
local PART_LENGTH = 26

local function is_set(flags, flag)
  return math.floor(flags / flag) % 2 == 1
end
