-- The head of a stored body: flags, priority, and the unique key if there is one. The rest is the worker's.
local IS_UNIQUE, IS_LARGE, UNTIL_START = 1, 2, 4

-- read_head(body): flags, priority, unique key (16 bytes or empty), where the worker's part begins.
local function read_head(body)
  local flags, priority = string.byte(body, 1, 2)
  if flags % 2 == IS_UNIQUE then
    return flags, priority, string.sub(body, 3, 18), 19
  end
  return flags, priority, '', 3
end

-- is_large(flags), ends_at_start(flags): the worker's part is in the `large` hash; the unique key ends at the first claim.
local function is_large(flags)
  return math.floor(flags / IS_LARGE) % 2 == 1
end

local function ends_at_start(flags)
  return math.floor(flags / UNTIL_START) % 2 == 1
end
