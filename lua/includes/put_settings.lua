--- @include "phase_at"
-- read_phases(numbers, turns, seeds): the settings that scripts read, now and later, from their JSON, and how long ids are to
-- be kept under them; nil and what is wrong when they are not as agreed.
local function read_phases(numbers_text, turns_text, seeds_text)
  local numbers, turns = cjson.decode(numbers_text), cjson.decode(turns_text)
  for _, seed in pairs(cjson.decode(seeds_text)) do
    if type(seed) ~= 'string' or #seed ~= 64 or not seed:match('^%x+$') then
      return nil, 'INVALID seeds: 32 bytes each are expected, hexadecimal'
    end
  end
  numbers.at = 0
  local keep, before = 0, -1
  for _, phase in ipairs({ numbers, unpack(turns) }) do
    for _, name in ipairs({ 'at', unpack(NUMBERS) }) do
      local number = phase[name]
      if type(number) ~= 'number' or number ~= math.floor(number) or number < -1 or number > 9007199254740992 then
        return nil, 'INVALID numbers: ' .. name .. ' has to be a whole number from -1 to 2^53'
      end
    end
    if phase.at <= before then
      return nil, 'INVALID turns: each comes after the one before it'
    end
    before = phase.at
    local longest = math.max(phase.waiting_ttl, phase.session_ttl, phase.claim_within, phase.confirm_within)
    keep = math.max(keep, longest + phase.return_within)
  end
  if #turns > 100 then
    return nil, 'INVALID turns: 100 at most are expected'
  end
  return { numbers = numbers, turns = turns, keep = keep, turns_text = turns_text, seeds_text = seeds_text }
end
-- put_settings(line, has_lived, version, settings, phases, moment): writes settings as they are in force at `moment` (us);
-- `line` is nil for a new tenant, and open when it `has_lived`.
local function put_settings(line, has_lived, version, settings, phases, moment)
  local worthless, keep = 0, phases.keep
  if line then
    worthless = line.config.worthless
    keep = math.max(keep, line.config.keep)
  end
  if has_lived then
    worthless = math.max(worthless, line.clock - line.config.return_within)
  end
  local phase, turns_at = phase_at(phases.turns, moment)
  redis.call('HSET', KEYS[4], 'version', version, 'settings', settings, 'turns', phases.turns_text, 'seeds',
    phases.seeds_text, 'worthless', worthless, 'keep', keep, unpack(phase_fields(phase or phases.numbers, turns_at)))
end
