#!lua flags=allow-oom
--[[
configure: changes settings of a queue, or reads them.
KEYS     1 conf       hash    clocks, pause, counters
         2 wake       list    at most one token for an idle worker
ARGV     1 change     text    a name and a number in turn, 1 to 20 times: see `includes/queue/settings.lua`; none, to read
RETURNS  name and number of each setting as it is now
COST     O(1)
]]
--- @include "queue/settings"
--- @include "queue/wake"
local CONF, WAKE = KEYS[1], KEYS[2]
local NAMES = {
  'most_bytes', 'rate', 'period', 'ageing', 'dead_age', 'dead_count', 'dead_bytes', 'cancelled_age', 'completed_count', 'parked_age',
}
local settings = read_settings(redis.call('HGET', CONF, 'settings'))
for index = 1, #ARGV, 2 do
  local name, value = ARGV[index], tonumber(ARGV[index + 1])
  if not settings[name] or not value or value < 0 or value ~= math.floor(value) then
    return redis.error_reply('INVALID ' .. name .. ': a setting and a whole number of 0 or more are expected')
  end
  settings[name] = value
end
if settings.rate > 0 and settings.period == 0 then
  return redis.error_reply('INVALID period: a rate is for a period')
end
if #ARGV > 0 then
  local values = {}
  for index, name in ipairs(NAMES) do
    values[index] = settings[name]
  end
  redis.call('HSET', CONF, 'settings', struct.pack(SETTINGS, unpack(values)))
  if settings.rate == 0 then
    redis.call('HDEL', CONF, 'tokens')
  end
  -- What waited for its rate may begin.
  wake_one(WAKE)
end
local reply = {}
for _, name in ipairs(NAMES) do
  reply[#reply + 1] = name
  reply[#reply + 1] = string.format('%.0f', settings[name])
end
return reply
