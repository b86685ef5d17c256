-- wake_one(wake): leaves a token for one idle worker, unless there is one.
local function wake_one(wake)
  if redis.call('LLEN', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
end
