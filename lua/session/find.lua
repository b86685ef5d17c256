#!lua flags=no-writes
--[[
find: one session as it stands, and what is known of one that has ended.
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
         2 run           text as in the other scripts; not looked at
         3 caller_clock  ms   the highest tenant clock that the caller knows, 0: none
         4 id            16 bytes
RETURNS  the head of includes/line_reply.lua, 1 when the session is stored, else 0, its score, its end (tenant ms), its rank
         among all, and when its id came into gone, spent and missed (tenant ms, 0: it did not); or -1 without settings
COST     O(log N)
]]
--- @include "view_line"
--- @include "line_reply"
local id = ARGV[4]
if #id ~= 16 then
  return redis.error_reply('INVALID id: 16 bytes are expected')
end
local line = view_line()
if not line then
  return { -1 }
end
local score = redis.call('ZSCORE', KEYS[1], id)
local reply = line_reply(line)
reply[#reply + 1] = score and 1 or 0
reply[#reply + 1] = tonumber(score) or 0
reply[#reply + 1] = tonumber(redis.call('ZSCORE', KEYS[2], id)) or 0
reply[#reply + 1] = redis.call('ZRANK', KEYS[1], id) or 0
for index = 5, 7 do
  reply[#reply + 1] = tonumber(redis.call('ZSCORE', KEYS[index], id)) or 0
end
return reply
