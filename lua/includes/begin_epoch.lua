-- begin_epoch(line, known, evidence, place, sequence): a new unbroken life of the store's data, when one is due.
-- `known`: somebody remembers the tenant, so a missing state is a loss; `evidence`: epochs that tickets name and the
-- state does not; `place`, `sequence`: the highest that a ticket shows.
local function begin_epoch(line, known, evidence, place, sequence)
  local state = line.state
  if not (line.missing or state.run ~= line.run or next(evidence)) then
    return
  end
  local newest = state.epoch
  if state.epoch > 0 then
    line.formers[state.epoch] = line.clock
  end
  for epoch in pairs(evidence) do
    line.formers[epoch] = line.clock
    newest = math.max(newest, epoch)
  end
  -- While the server's clock is behind, epochs follow one another: without something of the moment in it, one that was
  -- lost and the next one would have the same number.
  state.epoch = math.max(line.now, newest + 1 + line.now % 1000000)
  state.run = line.run
  if line.missing and not known then
    state.place = line.now
    return
  end
  local kept = {}
  for epoch, ended in pairs(line.formers) do
    if ended + line.config.keep > line.clock then
      kept[#kept + 1] = string.format('%d:%d', epoch, ended)
    else
      line.formers[epoch] = nil
    end
  end
  table.sort(kept)
  state.formers = table.concat(kept, ' ')
  state.place = math.max(state.place, line.now, place) + 5000000
  state.sequence = math.max(state.sequence, sequence)
  state.closed_until = line.clock + line.config.recovery_hold
  state.unconfirmed = line.clock
  state.tokens = 0
end
