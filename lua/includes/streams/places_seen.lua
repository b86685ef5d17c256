--- @include "queue/places"
--- @include "queue/meta"
-- What can be asked of the jobs that are pending or active.
function places.count_active()
  return streams.sum(streams.leased, 0, OF_SUSPECTS)
end

-- places.first_jobs(): id and score of the first pending job of each stream.
function places.first_jobs()
  local firsts = {}
  for _, band in ipairs(streams.all()) do
    local returned = redis.call('XPENDING', STREAMS[band], streams.group, '-', '+', 1, streams.returned)[1]
    local from = returned and returned[1]
    if not from then
      local group = redis.call('XINFO', 'GROUPS', STREAMS[band])[1]
      for index = 1, #group, 2 do
        from = group[index] == 'last-delivered-id' and '(' .. group[index + 1] or from
      end
    end
    local entry = redis.call('XRANGE', STREAMS[band], from, '+', 'COUNT', 1)[1]
    if entry then
      firsts[#firsts + 1] = { struct.unpack(streams.entry, entry[2][2]) }
    end
  end
  return firsts
end

-- places.find(id): whether a job is pending or active, what says so, and the score of one that is pending; nil when it is neither.
function places.find(id)
  local band, entry = streams.entry_of(redis.call('HGET', ENTRIES, id))
  if not band then
    return nil
  end
  local packed = redis.call('HGET', META, id)
  if packed and unpack_meta(packed).fence > 0 then
    return 'active', ENTRIES, 0
  end
  local found = redis.call('XRANGE', STREAMS[band], entry, entry)[1]
  return 'pending', ENTRIES, found and select(2, struct.unpack(streams.entry, found[2][2])) or 0
end

-- places.all_of(id): what says that a job is pending or active, if its entry is there.
function places.all_of(id)
  local band, entry = streams.entry_of(redis.call('HGET', ENTRIES, id))
  local found = band and redis.call('XRANGE', STREAMS[band], entry, entry)[1]
  return found and string.sub(found[2][2], 1, 16) == id and { ENTRIES } or {}
end

-- places.lacks_lease(id, set, packed): whether a job is active and nobody's, or somebody's and not active. `set`: that it is in.
-- `packed`: its meta, false none.
function places.lacks_lease(id, set, packed)
  if set ~= ENTRIES then
    return false
  end
  local band, entry = streams.entry_of(redis.call('HGET', ENTRIES, id))
  local delivery = redis.call('XPENDING', STREAMS[band], streams.group, entry, entry, 1)[1]
  local has_fence = packed and unpack_meta(packed).fence > 0 or false
  return (delivery ~= nil and delivery[2] == streams.active) ~= has_fence
end
