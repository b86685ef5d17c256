-- drop_ended(key, now, most): removes the locks whose hold has ended from the list; how many it were. `now` (us): empty: the server's time.
local function drop_ended(key, now, most)
  local time = redis.call('TIME')
  local moment = string.format('%d', tonumber(now) or time[1] * 1000000 + time[2])
  local names = redis.call('ZRANGE', key, '-inf', moment, 'BYSCORE', 'LIMIT', 0, most)
  if #names > 0 then
    redis.call('ZREM', key, unpack(names))
  end
  return #names
end
