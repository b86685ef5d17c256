--- @include "read_line"
-- view_line(): the line as it stands, for a script that changes nothing, or nil when there are no settings. ARGV 1 to 3 are
-- now, run and caller_clock as in the visit script. Nothing here depends on the run id, and the server's would cost a tenth of
-- the call.
local function view_line()
  local line = read_line(ARGV[1], 'unread', tonumber(ARGV[3]))
  if line then
    line.recovering = line.clock < line.state.closed_until
    line.closed = line.recovering or line.config.closed == 1 or line.config.method == 2
    line.active = redis.call('ZCOUNT', KEYS[1], '-inf', '(0')
    line.waiting = redis.call('ZCARD', KEYS[1]) - line.active
  end
  return line
end
