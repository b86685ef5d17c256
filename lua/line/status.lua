#!lua flags=no-writes
--[[
status: the numbers of a line as they stand, without changing anything.
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
RETURNS  the head of includes/line_reply.lua and the state's counters: joined, called, admitted, abandoned, missed, ended,
         left, revoked, restored, limited, waited_ms, estimates, estimate_error_ms, called and not yet seen, and its
         histograms as text: wait_times, visit_times, estimate_errors; and the quota in force; or -1
COST     O(log N)
]]
--- @include "view_line"
--- @include "line_reply"
local line = view_line()
if not line then
  return { -1 }
end
local state = line.state
local reply = line_reply(line)
for _, name in ipairs({
  'joined', 'called', 'admitted', 'abandoned', 'missed', 'ended', 'left', 'revoked', 'restored', 'limited',
  'waited_ms', 'estimates', 'estimate_error_ms',
}) do
  reply[#reply + 1] = state[name]
end
reply[#reply + 1] = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%d', -BAND))
for _, numbers in ipairs(redis.call('HMGET', KEYS[3], 'wait_times', 'visit_times', 'estimate_errors')) do
  reply[#reply + 1] = numbers or ''
end
reply[#reply + 1] = line.config.quota
return reply
