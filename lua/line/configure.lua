#!lua flags=allow-oom
--[[
configure: replaces the settings of a tenant when nobody else has changed them meanwhile; also writes back what a gate
process remembers into a store that lost them.
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
         6 expected      int  version that the caller has read, 0: none yet; -1: whatever is older than the version
         7 version       int  version of the new settings
         8 generation    int  flush generation that the caller knows; a lower one in the store is raised
         9 settings      text the tenant's settings as JSON
         10 numbers      text their part that the scripts read, as JSON: name -> whole number
         11 turns        text what that part becomes later, as JSON: a list of the same in the order of time, each with
                              `at`, since when it is in force, s of the server's clock
         12 seeds        text of the shuffled pre-queues, as JSON: when it opened, s -> 32 bytes, hexadecimal
         13 reached      us   a phase that began until then has begun, whatever the server's clock says; 0: by that alone
RETURNS  1 when the settings were written, else 0; the version now in force; the sequence number of this call, 0 when it
         changed nothing or the line has no state yet
COST     O(1)
]]
--- @include "read_line"
--- @include "open_line"
--- @include "empty_line"
--- @include "put_settings"
--- @include "write_line"
local expected, version, generation = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local phases, wrong = read_phases(ARGV[10], ARGV[11], ARGV[12])
if not phases then
  return redis.error_reply(wrong)
end
local line = read_line(ARGV[1], ARGV[2], tonumber(ARGV[3]))
-- A tenant that an operator has deleted is not brought back by a process that has not heard of it.
local former = line and {} or redis.call('HMGET', KEYS[4], 'deleted', 'generation')
local found = line and line.config.version or tonumber(former[1]) or 0
local is_newer = found < version and (expected < 0 or found == expected)
local is_flushed = line and line.config.generation < generation
if not (is_newer or is_flushed) then
  return { 0, found, 0 }
end
local has_lived = line and not line.missing
if has_lived then
  open_line(line, true, {}, 0, 0)
end
if is_newer then
  local moment = math.max(line and line.now or server_now(ARGV[1]), tonumber(ARGV[13]))
  put_settings(line, has_lived, version, ARGV[9], phases, moment)
end
if not line then
  redis.call('HSET', KEYS[4], 'generation', math.max(generation, tonumber(former[2]) or 0))
  redis.call('HDEL', KEYS[4], 'deleted')
elseif is_flushed then
  empty_line(line, generation)
end
if has_lived then
  write_line(line)
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return { is_newer and 1 or 0, is_newer and version or found, has_lived and line.state.sequence or 0 }
