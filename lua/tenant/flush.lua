#!lua flags=allow-oom
--[[
flush: an operator empties a line and raises its generation, so that no ticket given before counts for anything.
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
         6 author        text who asks, as JSON: actor, action, reason, call, fingerprint
RETURNS  1 when it is done, 2 when this call has done it before, 3 when its id was used for another call, 0 when there is no
         such tenant; the version of the settings; the flush generation; the id of the entry in the audit trail
COST     O(1), the memory is freed in the background
]]
--- @include "begin_call"
--- @include "empty_line"
--- @include "write_line"
--- @include "audit"
local author = cjson.decode(ARGV[6])
local entry = kept_call(KEYS[11], author)
if entry then
  return { entry == '' and 3 or 2, 0, 0, entry }
end
local line = begin_call(false)
if not line then
  return { 0, 0, 0, '' }
end
local generation = line.config.generation + 1
empty_line(line, generation)
write_line(line)
entry = audit(KEYS[10], KEYS[11], author, {
  'version', line.config.version, 'generation', generation, 'before', '', 'after', '',
})
redis.call('PUBLISH', ARGV[4], ARGV[5])
return { 1, line.config.version, generation, entry }
