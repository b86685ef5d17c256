-- count_join(line, first, second): counts a new ticket for a client prefix in two of the fixed buckets; false when both
-- are over the limit of new tickets a minute. Bucket 65535 is nobody's and has no limit. Two one-minute windows are weighed by
-- the part of the older still in view.
local function count_join(line, first, second)
  local limit = line.config.join_limit
  if limit == 0 or first == 65535 then
    return true
  end
  local window = math.floor(line.clock / 60000)
  local share = 1 - (line.clock % 60000) / 60000
  local fields = { '0:' .. first, '1:' .. second }
  local counts, lowest = {}, nil
  for index, packed in ipairs(redis.call('HMGET', KEYS[8], unpack(fields))) do
    local at, current, previous = 0, 0, 0
    if packed then
      at, current, previous = struct.unpack('<I4I4I4', packed)
    end
    if at == window - 1 then
      previous, current = current, 0
    elseif at ~= window then
      previous, current = 0, 0
    end
    counts[index] = { current, previous }
    local seen = current + previous * share
    if not lowest or seen < lowest then
      lowest = seen
    end
  end
  if lowest >= limit then
    line.state.limited = line.state.limited + 1
    return false
  end
  for index, count in ipairs(counts) do
    redis.call('HSET', KEYS[8], fields[index], struct.pack('<I4I4I4', window, count[1] + 1, count[2]))
  end
  return true
end
