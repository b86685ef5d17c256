#!lua flags=allow-oom
--[[
front: an operator moves a session that waits before all others that wait; those who were moved keep their order.
KEYS     1 sessions  zset    session id -> score: place (waiting), minus place (called), minus tenant ms (admitted)
         2 pool      zset    session id -> end, tenant ms
         3 state     hash    clock, epoch, last place, counters
         4 config    hash    settings of the tenant
         5 gone      zset    ids that left or were revoked -> tenant ms
         6 spent     zset    ids of visits that ran out -> tenant ms
         7 missed    zset    ids called in vain once -> tenant ms
         8 joins     hash    join counts per hashed client prefix
         9 history   stream  a sample of the line every ten seconds
         10 audit    stream  who changed what
         11 call     string  what is kept of this call for a day
ARGV     1 now           us   empty: the server's time
         2 run           text empty: the server's run id
         3 caller_clock  ms   the highest tenant clock that the caller knows, 0: none
         4 id            16 bytes
         5 author        text who asks, as JSON: actor, action, reason, call, fingerprint
RETURNS  1 when it is done, 2 when this call has done it before, 3 when its id was used for another call, 0 when it cannot be
         done; the session's score, 0: there is none; its position, 0: it does not wait, -1: not known; the id of the
         entry in the audit trail; or -1 without settings
COST     O(500 * log N)
]]
--- @include "begin_call"
--- @include "arrival"
--- @include "admit_waiting"
--- @include "write_line"
--- @include "audit"
local id, author = ARGV[4], cjson.decode(ARGV[5])
if #id ~= 16 then
  return redis.error_reply('INVALID id: 16 bytes are expected')
end
local function position_of(line, score)
  if score < 0 then
    return 0
  end
  return line.recovering and -1 or redis.call('ZRANK', KEYS[1], id) - line.active + 1
end

local function facts_of(place)
  local hex = string.gsub(id, '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end)
  return string.format('{"session":"%s-%s-%s-%s-%s","place":%d}', hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16),
    hex:sub(17, 20), hex:sub(21), place)
end

local entry = kept_call(KEYS[11], author)
if entry then
  return { entry == '' and 3 or 2, 0, 0, entry }
end
local line = begin_call(false)
if not line then
  return { -1 }
end
local place, session_ends = tonumber(redis.call('ZSCORE', KEYS[1], id)), tonumber(redis.call('ZSCORE', KEYS[2], id))
if not place or session_ends <= line.clock then
  write_line(line)
  return { 0, 0, 0, '' }
end
-- A server whose clock was before 2005 has given places from which there is nowhere to go.
if place < 0 or is_moved(line, place) or place - FRONT <= BAND then
  write_line(line)
  return { 0, place, position_of(line, place), '' }
end
redis.call('ZADD', KEYS[1], place - FRONT, id)
admit_waiting(line, {})
write_line(line)
entry = audit(KEYS[10], KEYS[11], author, {
  'version', line.config.version, 'generation', line.config.generation,
  'before', facts_of(place), 'after', facts_of(place - FRONT),
})
local score = tonumber(redis.call('ZSCORE', KEYS[1], id))
return { 1, score, position_of(line, score), entry }
