#!lua
--[[
claim_routes: gives a tenant the hosts and paths that it answers for, when no other tenant has them.
KEYS     1 tenants  hash  tenant -> its routes, one a line
         2 hosts    hash  route (host and path) -> tenant
ARGV     1 tenant   text
         2 channel  text  where gate processes listen for changes
         3 message  text  what they are told
         4 route    text, 1 to 100 times
RETURNS  nothing when they are its own now; else the first route that is taken and the tenant that has it
COST     O(routes)
]]
if #ARGV < 4 or #ARGV > 103 then
  return redis.error_reply('INVALID routes: 1 to 100 are expected')
end
local tenant = ARGV[1]
local routes = { unpack(ARGV, 4) }
for index, holder in ipairs(redis.call('HMGET', KEYS[2], unpack(routes))) do
  if holder and holder ~= tenant then
    return { routes[index], holder }
  end
end
local former = redis.call('HGET', KEYS[1], tenant)
for route in string.gmatch(former or '', '[^\n]+') do
  redis.call('HDEL', KEYS[2], route)
end
for _, route in ipairs(routes) do
  redis.call('HSET', KEYS[2], route, tenant)
end
redis.call('HSET', KEYS[1], tenant, table.concat(routes, '\n'))
redis.call('PUBLISH', ARGV[2], ARGV[3])
return {}
