-- unique_holder(unique, key, now): who holds a unique key, nil nobody.
local function unique_holder(unique, key, now)
  local held = redis.call('HGET', unique, key)
  if held then
    local holder, ends = struct.unpack('<c16d', held)
    if ends == 0 or ends > now then
      return holder
    end
  end
  return nil
end

-- release_unique(unique, key, id): gives a unique key up, if this job is who holds it.
local function release_unique(unique, key, id)
  if key ~= '' then
    local held = redis.call('HGET', unique, key)
    if held and string.sub(held, 1, 16) == id then
      redis.call('HDEL', unique, key)
    end
  end
end
