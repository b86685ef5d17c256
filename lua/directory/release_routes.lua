#!lua flags=allow-oom
--[[
release_routes: takes a tenant that was deleted out of the directory, with its hosts and paths.
KEYS     1 tenants  hash  tenant -> its routes, one a line
         2 hosts    hash  route (host and path) -> tenant
ARGV     1 tenant   text
         2 channel  text  where gate processes listen for changes
         3 message  text  what they are told
RETURNS  1 when it was there, else 0
COST     O(routes)
]]
local tenant = ARGV[1]
for route in string.gmatch(redis.call('HGET', KEYS[1], tenant) or '', '[^\n]+') do
  if redis.call('HGET', KEYS[2], route) == tenant then
    redis.call('HDEL', KEYS[2], route)
  end
end
local was_there = redis.call('HDEL', KEYS[1], tenant)
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { was_there }
