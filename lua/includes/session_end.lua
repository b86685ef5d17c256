-- session_end(line, since): when a visit that began at `since` ends if it is seen now, tenant ms.
local function session_end(line, since)
  local config = line.config
  local base = config.renew == 1 and line.clock or since
  if config.session_max == 0 then
    return base + config.session_ttl
  end
  return math.min(base + config.session_ttl, since + config.session_max)
end
