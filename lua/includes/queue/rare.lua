--- @include "queue/step_keys"
--- @include "queue/places"
--- @include "queue/close_queue"
--- @include "queue/flags"
--- @include "queue/plain_meta"
--- @include "queue/remove"
--- @include "queue/score"
-- rare(): the functions for jobs that are no plain ones, and for a queue that has something to tend. A script makes its functions anew
-- at each call; these, most of them, are made when the first of them is needed, which spares most steps a third of their time.
local rare_functions

local function rare()
  if not rare_functions then
    --- @include "queue/finish_runs"
    --- @include "queue/tend"
    --- @include "queue/hold"
    rare_functions = {
      finish_runs = finish_runs, end_special = end_special, tend = tend, hold = hold, forget = forget,
      is_task_paused = is_task_paused, hold_back = hold_back,
    }
  end
  return rare_functions
end
