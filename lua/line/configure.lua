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
RETURNS  1 when the settings were written, else 0; the version now in force; the sequence number of this call, 0 when it
         changed nothing or the line has no state yet
COST     O(1)
]]
--- @include "read_line"
--- @include "open_line"
--- @include "empty_line"
--- @include "write_line"
local names = {
  'quota', 'rate', 'waiting_ttl', 'session_ttl', 'session_max', 'confirm_within', 'claim_within', 'return_within',
  'leave_hold', 'recovery_hold', 'clock_step', 'method', 'closed', 'renew', 'join_limit',
}
local expected, version, generation = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local numbers = cjson.decode(ARGV[10])
local values = {}
for _, name in ipairs(names) do
  local number = numbers[name]
  if type(number) ~= 'number' or number ~= math.floor(number) or number < -1 or number > 9007199254740992 then
    return redis.error_reply('INVALID numbers: ' .. name .. ' has to be a whole number from -1 to 2^53')
  end
  values[#values + 1] = name
  values[#values + 1] = number
end
local line = read_line(ARGV[1], ARGV[2], tonumber(ARGV[3]))
local found = line and line.config.version or 0
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
  local worthless, keep = 0, 0
  if line then
    worthless, keep = line.config.worthless, line.config.keep
  end
  if has_lived then
    worthless = math.max(worthless, line.clock - line.config.return_within)
  end
  local longest = math.max(numbers.waiting_ttl, numbers.session_ttl, numbers.claim_within, numbers.confirm_within)
  keep = math.max(keep, longest + numbers.return_within)
  redis.call('HSET', KEYS[4], 'version', version, 'settings', ARGV[9], 'worthless', worthless, 'keep', keep,
    unpack(values))
end
if not line then
  redis.call('HSET', KEYS[4], 'generation', generation)
elseif is_flushed then
  empty_line(line, generation)
end
if has_lived then
  write_line(line)
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return { is_newer and 1 or 0, is_newer and version or found, has_lived and line.state.sequence or 0 }
