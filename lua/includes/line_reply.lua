-- line_reply(line): the head that each script on a line answers with; speeds are admissions per 1,000 s.
local function line_reply(line)
  local config, state = line.config, line.state
  return {
    config.version, config.generation, state.sequence, state.epoch, line.clock, line.now, line.active, line.waiting,
    line.recovering and 1 or 0, line.closed and 1 or 0, state.fast * 1000, state.slow * 1000, state.samples,
    config.turn,
  }
end
