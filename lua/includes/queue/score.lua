-- The score of a pending job: the higher priority first, then who became pending first.
local BAND = 4398046511104 -- 2^42: above every wall ms until the year 2109

local function pending_score(priority, ready)
  return (9 - priority) * BAND + ready
end
