#!lua flags=allow-oom
--[[
tick: what a line needs although nobody calls: a chunk of the purge, free slots given on, a sample for the history, and a
step of the closed loop.
KEYS     1 sessions  zset    session id -> score: place (waiting), minus place (called), minus tenant ms (admitted)
         2 pool      zset    session id -> end, tenant ms
         3 state     hash    clock, epoch, last place, counters
         4 config    hash    settings of the tenant
         5 gone      zset    ids that left or were revoked -> tenant ms
         6 spent     zset    ids of visits that ran out -> tenant ms
         7 missed    zset    ids called in vain once -> tenant ms
         8 joins     hash    join counts per hashed client prefix
         9 history   stream  a sample of the line every ten seconds
         10 loop     hash    what was measured of the site in this interval
         11 steps    stream  how the closed loop changed the quota in force, and why
ARGV     1 now           us   empty: the server's time
         2 run           text empty: the server's run id
         3 caller_clock  ms   the highest tenant clock that the caller knows, 0: none
         4 measured      text what the caller has measured of the site since its last tick, as JSON, see lua/measured.py;
                              empty: nothing
RETURNS  the head of includes/line_reply.lua, 1 when more has ended than this call removed, else 0, and the quota that the
         closed loop asks for, 0: none; or -1 when there are no settings or no state that could need anything
COST     O(most * log N), most = 500 ended sessions and 200 of each set of ids
]]
--- @include "read_line"
--- @include "open_line"
--- @include "purge_ended"
--- @include "steer"
--- @include "admit_waiting"
--- @include "write_line"
--- @include "line_reply"
local function forget_ids(key, before)
  local ids = redis.call('ZRANGE', key, '-inf', before, 'BYSCORE', 'LIMIT', 0, 200)
  if #ids > 0 then
    redis.call('ZREM', key, unpack(ids))
  end
  return #ids == 200
end

local caller_clock = tonumber(ARGV[3])
local line = read_line(ARGV[1], ARGV[2], caller_clock)
if not line or line.missing and caller_clock == 0 then
  return { -1 }
end
open_line(line, true, {}, 0, 0)
local more = purge_ended(line, 500)
local before = line.clock - line.config.keep
for index = 5, 7 do
  more = forget_ids(KEYS[index], before) or more
end
steer(line, ARGV[4])
admit_waiting(line, {})
write_line(line)
local reply = line_reply(line)
reply[#reply + 1] = more and 1 or 0
reply[#reply + 1] = line.state.steered
return reply
