#!lua flags=allow-oom
--[[
remove: an operator ends a tenant with its line; what stays is the audit trail, and a mark that keeps gate processes from
bringing it back.
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
         12 loop     hash    what was measured of the site in this interval
         13 steps    stream  how the closed loop changed the quota in force, and why
ARGV     1 channel       text where gate processes listen for changes
         2 message       text what they are told
         3 expected      int  version that the caller has read; -1: any
         4 author        text who asks, as JSON: actor, action, reason, call, fingerprint
RETURNS  1 when it is done, 2 when this call has done it before, 3 when its id was used for another call, 0 when another
         version is in force; that version, 0 without a tenant; the flush generation; the id of the entry in the audit trail
COST     O(1), the memory is freed in the background
]]
--- @include "audit"
local expected, author = tonumber(ARGV[3]), cjson.decode(ARGV[4])
local entry = kept_call(KEYS[11], author)
if entry then
  return { entry == '' and 3 or 2, 0, 0, entry }
end
local former = redis.call('HMGET', KEYS[4], 'version', 'generation', 'settings')
local found = tonumber(former[1]) or 0
if found == 0 or (expected >= 0 and found ~= expected) then
  return { 0, found, 0, '' }
end
local version, generation = found + 1, tonumber(former[2]) + 1
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9],
  KEYS[12], KEYS[13])
redis.call('HSET', KEYS[4], 'deleted', version, 'generation', generation)
entry = audit(KEYS[10], KEYS[11], author, {
  'version', version, 'generation', generation, 'before', former[3], 'after', '',
})
redis.call('PUBLISH', ARGV[1], ARGV[2])
return { 1, version, generation, entry }
