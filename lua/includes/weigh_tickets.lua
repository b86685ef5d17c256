-- weigh_tickets(line, visits): what the tickets of a batch prove that the state does not know. Returns the epochs that it
-- has never heard of, whether there is any ticket, and the highest place, sequence number and generation.
local function weigh_tickets(line, visits)
  local config, state = line.config, line.state
  local evidence, known, place, sequence, generation = {}, false, 0, 0, config.generation
  for _, visit in ipairs(visits) do
    if visit.ticketed then
      known = true
      if visit.generation >= config.generation and visit.ends > config.worthless
        and visit.ends + config.return_within > line.clock then
        local lost = visit.epoch ~= state.epoch and not line.formers[visit.epoch]
          or visit.epoch == state.epoch and visit.sequence > state.sequence
        if lost and visit.epoch > 0 then
          evidence[visit.epoch] = true
        end
        place = math.max(place, visit.place)
        sequence = math.max(sequence, visit.sequence)
        generation = math.max(generation, visit.generation)
      end
    end
  end
  return evidence, known, place, sequence, generation
end
