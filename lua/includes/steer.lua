--- @include "quota_in_force"
-- A percentile of fewer calls than this says nothing.
local FEWEST_CALLS = 20

-- take_step(line, quota, reason, counts): from now on admission goes by another quota; the step and its reason are kept.
local function take_step(line, quota, reason, counts)
  local before = line.config.quota
  line.state.steered = quota
  line.config.quota = quota_in_force(line)
  redis.call('XADD', KEYS[11], 'MAXLEN', '~', 1000, '*', 'clock', line.clock, 'before', before, 'after', quota, 'reason',
    reason, 'calls', counts.calls, 'near', counts.near, 'slow', counts.slow, 'failed', counts.failed, 'active',
    line.active, 'waiting', line.waiting)
end

-- decide(line, counts, measured): after an interval: down by the factor when the site was too slow or failed too often, up by
-- the step when it was well and the quota is what holds visitors back.
local function decide(line, counts, measured)
  local config = line.config
  if counts.calls < FEWEST_CALLS or line.closed or config.method ~= 0 then
    return
  end
  local most_slow = (counts.calls - counts.failed) * measured.slow_share
  local is_failing = counts.failed > counts.calls * measured.failed_share
  if is_failing or counts.slow > most_slow then
    local lower = math.max(config.lowest, math.floor(line.active * measured.factor))
    if lower < config.quota then
      take_step(line, lower, is_failing and 'failing' or 'slow', counts)
    end
  elseif counts.near <= most_slow and config.quota < config.most and (line.waiting > 0 or line.active >= config.quota) then
    take_step(line, math.min(config.most, config.quota + measured.step), 'well', counts)
  end
end

-- steer(line, text): the closed loop: takes in what a gate process has measured of the site (JSON, see lua/measured.py) and
-- once an interval, whoever brings it, decides about the quota in force.
local function steer(line, text)
  local config, state = line.config, line.state
  if config.lowest == 0 then
    state.steered = 0
    return
  end
  local measured = text ~= '' and cjson.decode(text)
  if not measured or measured.version ~= config.version then
    return
  end
  line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
  line.waiting = redis.call('ZCARD', KEYS[1]) - line.active
  local names, counts = { 'calls', 'near', 'slow', 'failed' }, {}
  local found = redis.call('HMGET', KEYS[10], 'version', 'began', unpack(names))
  local began = tonumber(found[1]) == measured.version and tonumber(found[2])
  for index, name in ipairs(names) do
    counts[name] = measured[name] + (began and tonumber(found[index + 2]) or 0)
  end
  if state.steered == 0 then
    if measured.quota == 0 and line.recovering then
      return
    end
    local first = measured.quota > 0 and measured.quota or line.active
    first = math.max(config.lowest, math.min(config.most, first))
    take_step(line, first, measured.quota > 0 and 'restored' or 'begun', counts)
    began = nil
  elseif line.active > config.quota then
    -- The last step down has not had its effect yet: how the site answers until then says nothing about the new quota.
    began = nil
  elseif began and line.clock - began >= measured.interval then
    decide(line, counts, measured)
    began = nil
  end
  if not began then
    began, counts = line.clock, { calls = 0, near = 0, slow = 0, failed = 0 }
  end
  redis.call('HSET', KEYS[10], 'version', measured.version, 'began', began, 'calls', counts.calls, 'near', counts.near,
    'slow', counts.slow, 'failed', counts.failed)
end
