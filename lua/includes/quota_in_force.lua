-- quota_in_force(line): what admission goes by: the quota that is set, or less while the closed loop says so.
local function quota_in_force(line)
  local config = line.config
  if config.lowest == 0 then
    return config.most
  end
  return math.min(config.most, math.max(config.lowest, line.state.steered))
end
