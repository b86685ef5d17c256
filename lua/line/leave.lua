#!lua flags=allow-oom
--[[
leave: ends sessions at once, or shortens an admitted one's hold when its last tab seems to have closed.
KEYS     1 sessions  zset    session id -> score: place (waiting), minus place (called), minus tenant ms (admitted)
         2 pool      zset    session id -> end, tenant ms
         3 state     hash    clock, epoch, last place, counters
         4 config    hash    settings of the tenant
         5 gone      zset    ids that left or were revoked -> tenant ms
         6 spent     zset    ids of visits that ran out -> tenant ms
         7 missed    zset    ids called in vain once -> tenant ms
         8 joins     hash    join counts per hashed client prefix
         9 history   stream  a sample of the line every ten seconds
ARGV     1 now           us   empty: the server's time
         2 run           text empty: the server's run id
         3 caller_clock  ms   the highest tenant clock that the caller knows, 0: none
         4 channel       text where gate processes listen for changes
         5 message       text what they are told when an admitted session is among them
         6 departure     17 bytes, 1 to 128 times: the id and '1' to shorten the hold to leave_hold, which the next visit takes back, or '0' to end it
RETURNS  the head of includes/line_reply.lua, and of each departure 1 when the session was known and live, else 0; or -1 without settings
COST     O((count + 500) * log N)
]]
--- @include "begin_call"
--- @include "retire_ended"
--- @include "tally"
--- @include "admit_waiting"
--- @include "write_line"
--- @include "line_reply"
if #ARGV < 6 or #ARGV > 133 then
  return redis.error_reply('INVALID departures: 1 to 128 are expected')
end
for index = 6, #ARGV do
  if #ARGV[index] ~= 17 then
    return redis.error_reply('INVALID departures: 17 bytes each are expected')
  end
end
local line = begin_call(true)
if not line then
  return { -1 }
end
local live, is_told = {}, false
for index = 6, #ARGV do
  local id, closing = ARGV[index]:sub(1, 16), ARGV[index]:sub(17) == '1'
  local score, ends = tonumber(redis.call('ZSCORE', KEYS[1], id)), tonumber(redis.call('ZSCORE', KEYS[2], id))
  if score and ends <= line.clock then
    retire_ended(line, { id }, { score })
    score = nil
  end
  if score and not closing then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZADD', KEYS[5], line.clock, id)
    line.state.left = line.state.left + 1
    if score < 0 and score > -BAND then
      tally(line, 'visit_times', line.clock + score)
    end
  elseif score and score < 0 then
    redis.call('ZADD', KEYS[2], math.min(ends, line.clock + line.config.leave_hold), id)
    redis.call('ZADD', KEYS[5], line.clock, id)
  end
  is_told = is_told or score ~= nil and score < 0
  live[#live + 1] = score and 1 or 0
end
admit_waiting(line, {})
write_line(line)
if is_told then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
local reply = line_reply(line)
for _, was_live in ipairs(live) do
  reply[#reply + 1] = was_live
end
return reply
