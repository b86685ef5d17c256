#!lua
--[[
visit: decides on a batch of visits of one tenant: who is admitted, who waits at which position, who gets a new place.
KEYS     1 sessions  zset    session id -> score: place (waiting), minus place (called), minus tenant ms (admitted)
         2 pool      zset    session id -> end, tenant ms
         3 state     hash    clock, epoch, last place, counters
         4 config    hash    settings of the tenant
         5 gone      zset    ids that left or were revoked -> tenant ms
         6 spent     zset    ids of visits that ran out -> tenant ms
         7 missed    zset    ids called in vain once -> tenant ms
         8 joins     hash    join counts per hashed client prefix
         9 history   stream  a sample of the line every ten seconds
ARGV     1 now               us   empty: the server's time
         2 run               text empty: the server's run id
         3 caller_clock      ms   the highest tenant clock that the caller knows, 0: none
         4 known_version     int  version of the settings that the caller knows
         5 known_generation  int  flush generation that the caller knows
         6 count             int  visits in the batch, 1 to 128
         7 visits            blob packed visits, see includes/read_visits.lua
RETURNS  the head of includes/line_reply.lua and six numbers a visit: verdict, whether the new id was taken, place us,
         since ms, end ms, position (-1 unknown); or one number, the version of the settings found (-1: none), when the
         store has older settings than the caller: nothing was done then
COST     O((count + 200) * log N), some 12 us of the server a visit in batches
]]
--- @include "decide_visits"
return decide_visits(false)
