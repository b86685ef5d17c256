--- @include "refill_tokens"
--- @include "begin_epoch"
-- open_line(line, known, evidence, place, sequence): keeps the settings of a phase that has begun, starts a new epoch when
-- one is due and says whether admission is open; see begin_epoch for the arguments.
local function open_line(line, known, evidence, place, sequence)
  if line.phase then
    redis.call('HSET', KEYS[4], 'worthless', line.config.worthless, unpack(phase_fields(line.phase, line.config.turns_at)))
  end
  refill_tokens(line)
  begin_epoch(line, known, evidence, place, sequence)
  line.recovering = line.clock < line.state.closed_until
  line.closed = line.recovering or line.config.closed == 1 or line.config.method == 2
end
