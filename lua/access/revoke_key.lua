#!lua flags=allow-oom
--[[
revoke_key: ends a key of an operator, and with it every login that was made by it.
KEYS     1 keys    hash    id of a key -> its record (JSON)
         2 audit   stream  who changed what
         3 call    string  what is kept of this call for a day
ARGV     1 key_id  text
         2 author  text    who asks, as JSON: actor, action, reason, call, fingerprint
RETURNS  1 when it is done, 2 when this call has done it before, 3 when its id was used for another call, 0 when there is no
         such key; the id of the entry in the audit trail, empty for none
COST     O(1)
]]
--- @include "audit"
local author = cjson.decode(ARGV[2])
local entry = kept_call(KEYS[3], author)
if entry then
  return { entry == '' and 3 or 2, entry }
end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return { 0, '' }
end
redis.call('HDEL', KEYS[1], ARGV[1])
return { 1, audit(KEYS[2], KEYS[3], author, { 'key', ARGV[1], 'before', record, 'after', '' }) }
