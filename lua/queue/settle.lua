#!lua flags=allow-oom
--[[
settle: removes entries from the outbox that have arrived.
KEYS     1 outbox     hash    kind and id -> what is handed over to another queue
         2 outgoing   zset    the same -> wall ms from when it is to be delivered (again)
ARGV     1 name       17 bytes, 1 to 20 times
RETURNS  how many there were
COST     O(count * log N)
]]
if #ARGV < 1 or #ARGV > 20 then
  return redis.error_reply('INVALID names: 1 to 20 are expected')
end
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('HDEL', KEYS[1], unpack(ARGV))
