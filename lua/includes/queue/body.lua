--- @include "queue/flags"
-- The head of a stored body: flags, priority, the unique key if there is one, the limit key if there is one, the job that it is a
-- part of if it is one. The rest is the worker's.

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

-- part_from(flags, first): where the reference of a part begins, after a head whose own two bytes or more end before `first`.
local function part_from(flags, first)
  return first + (is_set(flags, IS_UNIQUE) and 16 or 0) + (is_set(flags, IS_LIMITED) and 26 or 0)
end

-- read_part(body): what it is a part of: id of that job, round and index (26 bytes), and its queue; nil when it is none.
local function read_part(body)
  local flags = string.byte(body, 1)
  if not is_set(flags, IS_PART) then
    return nil
  end
  local from = part_from(flags, 3)
  return string.sub(body, from, from + PART_LENGTH - 1), struct.unpack('<Bc0', body, from + PART_LENGTH)
end

-- head_length(body): how many bytes are not the worker's.
local function head_length(body)
  local flags = string.byte(body, 1)
  local from = part_from(flags, 3)
  return is_set(flags, IS_PART) and from + PART_LENGTH + string.byte(body, from + PART_LENGTH) or from - 1
end
