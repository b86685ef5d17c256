#!lua flags=allow-oom
--[[
list: the names of a stage's locks, those that end first first.
KEYS     1 locks        zset  name of a lock -> end of its hold, us
ARGV     1 now          us    empty: the server's time
         2 after_until  us    what the last one of the page before ended at, -1: the first page
         3 after_name   text  and its name
         4 limit        int   1 to 1,000
RETURNS  name and end (us) of each
COST     O(limit + log N)
]]
--- @include "lock/drop_ended"
local after_until, after_name, limit = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if not limit or limit < 1 or limit > 1000 then
  return redis.error_reply('INVALID limit: 1 to 1000 is expected')
end
drop_ended(KEYS[1], ARGV[1], 100)
-- By rank while the last one of the page before is where it was; else by its end, and who ends at the same time may come twice.
local is_there = after_name ~= '' and tonumber(redis.call('ZSCORE', KEYS[1], after_name) or -1) == after_until
local rows
if is_there then
  local rank = redis.call('ZRANK', KEYS[1], after_name)
  rows = redis.call('ZRANGE', KEYS[1], rank + 1, rank + limit, 'WITHSCORES')
else
  rows = redis.call('ZRANGE', KEYS[1], after_until < 0 and '-inf' or ARGV[2], '+inf', 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
end
for index = 2, #rows, 2 do
  rows[index] = string.format('%d', tonumber(rows[index]))
end
return rows
