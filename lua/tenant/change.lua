#!lua flags=allow-oom
--[[
change: an operator makes a tenant or replaces its settings, when nobody else has changed them meanwhile.
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
         4 channel       text where gate processes listen for changes
         5 message       text what they are told
         6 expected      int  version that the caller has read, 0: there is no such tenant
         7 settings      text the tenant's settings as JSON
         8 numbers       text their part that the scripts read, as JSON: name -> whole number
         9 turns         text what that part becomes later, as in line/configure
         10 seeds        text of the shuffled pre-queues, as in line/configure
         11 author       text who asks, as JSON: actor, action, reason, call, fingerprint
RETURNS  1 when it is done, 2 when this call has done it before, 3 when its id was used for another call, 0 when another
         version is in force; that version; the flush generation; the id of the entry in the audit trail, empty for none
COST     O(size of the settings)
]]
--- @include "read_line"
--- @include "open_line"
--- @include "put_settings"
--- @include "write_line"
--- @include "audit"
local expected, author = tonumber(ARGV[6]), cjson.decode(ARGV[11])
local entry = kept_call(KEYS[11], author)
if entry then
  return { entry == '' and 3 or 2, 0, 0, entry }
end
local phases, wrong = read_phases(ARGV[8], ARGV[9], ARGV[10])
if not phases then
  return redis.error_reply(wrong)
end
local line = read_line(ARGV[1], ARGV[2], tonumber(ARGV[3]))
local found = line and line.config.version or 0
if found ~= expected then
  return { 0, found, 0, '' }
end
local former = redis.call('HMGET', KEYS[4], 'settings', 'deleted', 'generation')
local version, generation = (tonumber(former[2]) or found) + 1, tonumber(former[3]) or 0
local has_lived = line and not line.missing
if has_lived then
  open_line(line, true, {}, 0, 0)
end
put_settings(line, has_lived, version, ARGV[7], phases, line and line.now or server_now(ARGV[1]))
if has_lived then
  write_line(line)
elseif not line then
  redis.call('HSET', KEYS[4], 'generation', generation)
  redis.call('HDEL', KEYS[4], 'deleted')
end
entry = audit(KEYS[10], KEYS[11], author, {
  'version', version, 'generation', generation, 'before', former[1] or '', 'after', ARGV[7],
})
redis.call('PUBLISH', ARGV[4], ARGV[5])
return { 1, version, generation, entry }
