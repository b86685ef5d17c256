-- refill_tokens(line): the rate's token bucket after the time that passed; its burst is one second of the rate, at least one.
local function refill_tokens(line)
  local rate = line.config.rate
  if rate < 0 then
    line.state.tokens = 500
    return
  end
  local burst = rate > 0 and math.max(1, rate / 60) or 0
  if line.missing then
    line.state.tokens = burst
  end
  line.state.tokens = math.min(burst, line.state.tokens + line.elapsed * rate / 60000000)
end
