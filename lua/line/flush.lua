#!lua flags=allow-oom
--[[
flush: empties a line and raises its generation, so that no ticket given before counts for anything.
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
RETURNS  the head of includes/line_reply.lua; or -1 without settings
COST     O(1), the memory is freed in the background
]]
--- @include "begin_call"
--- @include "empty_line"
--- @include "write_line"
--- @include "line_reply"
local line = begin_call(false)
if not line then
  return { -1 }
end
empty_line(line, line.config.generation + 1)
write_line(line)
redis.call('PUBLISH', ARGV[4], ARGV[5])
return line_reply(line)
