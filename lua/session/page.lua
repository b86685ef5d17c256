#!lua flags=no-writes
--[[
page: a page of the sessions of a tenant, in the order of their scores and, among equal ones, of their ids.
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
         4 state         int  0 all of them, 1 waiting, 2 called, 3 admitted
         5 backward      int  1: the page that ends before the cursor, or the last one; 0: that after it, or the first one
         6 score         int  of the cursor, a session that may have gone meanwhile
         7 id            16 bytes of the cursor; empty: none
         8 limit         int  1 to 100
RETURNS  the head of includes/line_reply.lua, the rank of the first session of the page among all, whether there are others
         of the state before and after the page (1, 0), and of each session its id, score and end (tenant ms); or -1 without
         settings
COST     O(limit + (log N)^2)
]]
--- @include "view_line"
--- @include "rank_before"
--- @include "line_reply"
local state, is_backward, id, limit = tonumber(ARGV[4]), ARGV[5] == '1', ARGV[7], tonumber(ARGV[8])
if limit < 1 or limit > 100 or #id ~= 0 and #id ~= 16 or not ARGV[6]:match('^%-?%d+$') then
  return redis.error_reply('INVALID page: limit is 1 to 100, a cursor is a whole number and 16 bytes')
end
local line = view_line()
if not line then
  return { -1 }
end
local first, last = 0, line.active + line.waiting
if state == 1 then
  first = line.active
elseif state > 1 then
  local called = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%d', -BAND))
  if state == 2 then
    last = called
  else
    first, last = called, line.active
  end
end
local from, to = first, last
if id ~= '' then
  local rank, is_there = rank_before(ARGV[6], id)
  if is_backward then
    to = math.max(first, math.min(rank, last))
  else
    from = math.min(math.max(first, rank + (is_there and 1 or 0)), last)
  end
end
if is_backward then
  from = math.max(first, to - limit)
else
  to = math.min(last, from + limit)
end
local reply = line_reply(line)
reply[#reply + 1] = from
reply[#reply + 1] = from > first and 1 or 0
reply[#reply + 1] = to < last and 1 or 0
if to == from then
  return reply
end
local found, ids = redis.call('ZRANGE', KEYS[1], from, to - 1, 'WITHSCORES'), {}
for index = 1, #found, 2 do
  ids[#ids + 1] = found[index]
end
for index, session_ends in ipairs(redis.call('ZMSCORE', KEYS[2], unpack(ids))) do
  reply[#reply + 1] = ids[index]
  reply[#reply + 1] = tonumber(found[2 * index])
  reply[#reply + 1] = tonumber(session_ends)
end
return reply
