#!lua flags=allow-oom
--[[
revoke: ends sessions for good; their tickets are worthless from now on, whether the store knew them or not.
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
         5 message       text what they are told
         6 id            16 bytes, 1 to 100 times
RETURNS  the head of includes/line_reply.lua and how many of them were live; or -1 without settings
COST     O(count * log N)
]]
--- @include "begin_call"
--- @include "tally"
--- @include "admit_waiting"
--- @include "write_line"
--- @include "line_reply"
if #ARGV < 6 or #ARGV > 105 then
  return redis.error_reply('INVALID ids: 1 to 100 are expected')
end
local ids = { unpack(ARGV, 6) }
for _, id in ipairs(ids) do
  if #id ~= 16 then
    return redis.error_reply('INVALID ids: 16 bytes each are expected')
  end
end
local line = begin_call(false)
if not line then
  return { -1 }
end
local live = 0
for _, id in ipairs(ids) do
  local score = tonumber(redis.call('ZSCORE', KEYS[1], id))
  if score and score < 0 and score > -BAND then
    tally(line, 'visit_times', line.clock + score)
  end
  live = live + redis.call('ZREM', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZADD', KEYS[5], line.clock, id)
end
line.state.revoked = line.state.revoked + #ids
admit_waiting(line, {})
write_line(line)
redis.call('PUBLISH', ARGV[4], ARGV[5])
local reply = line_reply(line)
reply[#reply + 1] = live
return reply
