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
--- @include "write_line"
local expected, version, generation = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local numbers, turns = cjson.decode(ARGV[10]), cjson.decode(ARGV[11])
for _, seed in pairs(cjson.decode(ARGV[12])) do
  if type(seed) ~= 'string' or #seed ~= 64 or not seed:match('^%x+$') then
    return redis.error_reply('INVALID seeds: 32 bytes each are expected, hexadecimal')
  end
end
numbers.at = 0
local keep, before = 0, -1
for _, phase in ipairs({ numbers, unpack(turns) }) do
  for _, name in ipairs({ 'at', unpack(NUMBERS) }) do
    local number = phase[name]
    if type(number) ~= 'number' or number ~= math.floor(number) or number < -1 or number > 9007199254740992 then
      return redis.error_reply('INVALID numbers: ' .. name .. ' has to be a whole number from -1 to 2^53')
    end
  end
  if phase.at <= before then
    return redis.error_reply('INVALID turns: each comes after the one before it')
  end
  before = phase.at
  local longest = math.max(phase.waiting_ttl, phase.session_ttl, phase.claim_within, phase.confirm_within)
  keep = math.max(keep, longest + phase.return_within)
end
if #turns > 100 then
  return redis.error_reply('INVALID turns: 100 at most are expected')
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
  local worthless = 0
  if line then
    worthless = line.config.worthless
    keep = math.max(keep, line.config.keep)
  end
  if has_lived then
    worthless = math.max(worthless, line.clock - line.config.return_within)
  end
  local phase, turns_at = phase_at(turns, math.max(line and line.now or server_now(ARGV[1]), tonumber(ARGV[13])))
  redis.call('HSET', KEYS[4], 'version', version, 'settings', ARGV[9], 'turns', ARGV[11], 'seeds', ARGV[12], 'worthless', worthless,
    'keep', keep, unpack(phase_fields(phase or numbers, turns_at)))
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
