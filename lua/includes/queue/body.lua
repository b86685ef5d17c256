-- The head of a stored body: flags, priority, the unique key if there is one, the limit key if there is one. The rest is the
-- worker's.
local IS_UNIQUE, IS_LARGE, UNTIL_START, IS_LIMITED = 1, 2, 4, 8

local function is_set(flags, flag)
  return math.floor(flags / flag) % 2 == 1
end

-- read_head(body): flags, priority, unique key (16 bytes or empty).
local function read_head(body)
  local flags, priority = string.byte(body, 1, 2)
  return flags, priority, is_set(flags, IS_UNIQUE) and string.sub(body, 3, 18) or ''
end

-- read_limit(body): what the job's key allows, nil when it has none. `most` jobs of the key at once and `count` of them in `period`
-- ms, 0 for no limit; `weight` is the key's share among keys.
local function read_limit(body)
  local flags = string.byte(body, 1)
  if not is_set(flags, IS_LIMITED) then
    return nil
  end
  local limit = {}
  limit.key, limit.most, limit.weight, limit.count, limit.period =
    struct.unpack('<c16HHHI', body, is_set(flags, IS_UNIQUE) and 19 or 3)
  return limit
end
