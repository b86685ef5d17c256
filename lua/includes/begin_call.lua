--- @include "read_line"
--- @include "open_line"
-- begin_call(known): the opened line for a script that brings no tickets, or nil when there are no settings. ARGV 1 to 3
-- are now, run and caller_clock as in the visit script; `known`: the caller's errand proves that the tenant has lived.
local function begin_call(known)
  local caller_clock = tonumber(ARGV[3])
  local line = read_line(ARGV[1], ARGV[2], caller_clock)
  if line then
    open_line(line, known or caller_clock > 0, {}, 0, 0)
  end
  return line
end
