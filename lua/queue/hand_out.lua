#!lua flags=allow-oom
--[[
hand_out: entries of the outbox that are to be delivered; they come again after a while, unless they are settled.
KEYS     1 outbox     hash    kind and id -> what is handed over to another queue
         2 outgoing   zset    the same -> wall ms from when it is to be delivered (again)
ARGV     1 now        us      empty: the server's time
         2 limit      int     1 to 20
         3 again      ms      after this they come again; each time it takes longer, up to 20 times as long
RETURNS  name (17 bytes) and entry of each: wall ms of its making, how often it was handed out, kind, queue, content; a MiB at most, but one
COST     O(limit * log N)
]]
local OUTBOX, OUTGOING = KEYS[1], KEYS[2]
local MOST_BYTES, SLOWEST = 1048576, 20
local limit, again = tonumber(ARGV[2]), tonumber(ARGV[3])
if not (limit and limit >= 1 and limit <= 20 and again) then
  return redis.error_reply('INVALID limit or again')
end
local time = redis.call('TIME')
local now = math.floor((tonumber(ARGV[1]) or time[1] * 1000000 + time[2]) / 1000)
local reply, bytes = {}, 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', OUTGOING, '-inf', now, 'LIMIT', 0, limit)) do
  local stored = redis.call('HGET', OUTBOX, name)
  if stored then
    bytes = bytes + #stored
    if bytes > MOST_BYTES and #reply > 0 then
      break
    end
    local made, tries = struct.unpack('<dH', stored)
    tries = math.min(tries + 1, 65535)
    stored = struct.pack('<dH', made, tries) .. string.sub(stored, 11)
    redis.call('HSET', OUTBOX, name, stored)
    redis.call('ZADD', OUTGOING, now + again * math.min(tries, SLOWEST), name)
    reply[#reply + 1] = name
    reply[#reply + 1] = stored
  else
    redis.call('ZREM', OUTGOING, name)
  end
end
return reply
