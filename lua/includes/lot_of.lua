local function bytes_of(hex)
  return (string.gsub(hex, '..', function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

-- A key's two padded blocks (RFC 2104), with the server's SHA-1.
local function pads_of(seed)
  local inner, outer = {}, {}
  local key = bytes_of(seed)
  for index = 1, 64 do
    local byte = string.byte(key, index) or 0
    inner[index], outer[index] = string.char(bit.bxor(byte, 0x36)), string.char(bit.bxor(byte, 0x5c))
  end
  return { table.concat(inner), table.concat(outer) }
end

-- lot_of(line, visit): the place that a ticket of a shuffled pre-queue has by lot, within a second after that opened, by
-- HMAC(seed, id); nil for one that takes no part: it names none, or one that nobody knows, or confirms after the start.
local function lot_of(line, visit)
  local opened = visit.place / 1000000
  if visit.place % 1000000 ~= 0 or visit.state == 0 and line.config.window ~= opened then
    return nil
  end
  line.seeds = line.seeds or cjson.decode(redis.call('HGET', KEYS[4], 'seeds') or '{}')
  local seed = line.seeds[string.format('%d', opened)]
  if not seed then
    return nil
  end
  line.pads = line.pads or {}
  line.pads[opened] = line.pads[opened] or pads_of(seed)
  local pads = line.pads[opened]
  local drawn = redis.sha1hex(pads[2] .. bytes_of(redis.sha1hex(pads[1] .. visit.id)))
  -- 52 bits, which a number here holds exactly.
  return visit.place + 1 + math.fmod(tonumber(drawn:sub(1, 13), 16), 999999)
end
