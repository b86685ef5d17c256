--- @include "queue/step_keys"
-- remove(gone): what is known of jobs that are over, and were no others than plain ones or are no more.
local function remove(gone)
  redis.call('HDEL', META, unpack(gone))
  redis.call('HDEL', BODY, unpack(gone))
end
