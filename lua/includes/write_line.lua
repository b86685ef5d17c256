-- write_line(line): writes back what changed in the state, under the next sequence number; a sample of the line joins
-- the history when the last one is ten seconds old.
local function write_line(line)
  local state = line.state
  state.sequence = state.sequence + 1
  line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
  line.waiting = redis.call('ZCARD', KEYS[1]) - line.active
  local elapsed = line.clock - state.sampled
  if state.sampled == 0 then
    state.sampled = line.clock
    state.sampled_called = state.called
  elseif elapsed >= 10000 then
    local calls = state.called - state.sampled_called
    if calls > 0 or line.waiting > 0 then
      local speed = calls * 1000 / elapsed
      if state.samples == 0 then
        state.fast, state.slow = speed, speed
      else
        state.fast = state.fast + (speed - state.fast) * elapsed / (elapsed + 20000)
        state.slow = state.slow + (speed - state.slow) * elapsed / (elapsed + 120000)
      end
      state.samples = state.samples + 1
    end
    state.sampled = line.clock
    state.sampled_called = state.called
    redis.call('XADD', KEYS[9], 'MAXLEN', '~', 8640, '*', 'clock', line.clock, 'waiting', line.waiting, 'active',
      line.active, 'quota', line.config.quota, 'rate', line.config.rate, 'joined', state.joined, 'called',
      state.called, 'admitted', state.admitted, 'waited_ms', state.waited_ms)
  end
  local changed = {}
  for index, name in ipairs(STATE) do
    local value, before = state[name], line.before[index]
    if not before or (type(value) == 'number' and tonumber(before) or before) ~= value then
      changed[#changed + 1] = name
      changed[#changed + 1] = value
    end
  end
  for name, numbers in pairs(line.tallies) do
    numbers[#numbers] = string.format('%.0f', numbers[#numbers])
    changed[#changed + 1] = name
    changed[#changed + 1] = table.concat(numbers, ' ')
  end
  redis.call('HSET', KEYS[3], unpack(changed))
end
