-- read_visits(count, blob): the packed visits of a batch, or nil and what is wrong with them.
-- A visit is 94 bytes, little endian: flags u8 (1 it has a ticket, 2 it may not get a new one), ticket state u8,
-- ticket's id 16 bytes, id for a new ticket 16 bytes, seven doubles (place us, since ms, end ms, epoch, sequence,
-- generation, estimate ms) and two u16 (join buckets).
local function read_visits(count, blob)
  if count < 1 or count > 128 or #blob ~= count * 94 then
    return nil, 'INVALID visits: 1 to 128 of 94 bytes each are expected'
  end
  local visits = {}
  for index = 1, count do
    local flags, state, id, fresh, place, since, ends, epoch, sequence, generation, estimate, first, second =
      struct.unpack('<BBc16c16dddddddI2I2', blob, (index - 1) * 94 + 1)
    if flags > 3 or state > 3 then
      return nil, 'INVALID visits: flags and ticket state are 0 to 3'
    end
    for _, number in ipairs({ place, since, ends, epoch, sequence, generation, estimate }) do
      if number < 0 or number > 9007199254740992 or number ~= math.floor(number) then
        return nil, 'INVALID visits: numbers are whole and 0 to 2^53'
      end
    end
    visits[index] = {
      ticketed = flags % 2 == 1, no_new = flags >= 2, state = state, id = id, fresh = fresh, place = place,
      since = since, ends = ends, epoch = epoch, sequence = sequence, generation = generation,
      estimate = estimate, first = first, second = second,
    }
  end
  return visits
end
