-- kept_call(key, author): the entry of the audit trail that an earlier sending of this call has made; empty when its id was
-- used for another call; nil when the call is new or has no id.
local function kept_call(key, author)
  local kept = author.call ~= '' and redis.call('GET', key)
  if not kept then
    return nil
  end
  local fingerprint, entry = string.match(kept, '^(%S+) (%S+)$')
  return fingerprint == author.fingerprint and entry or ''
end
-- audit(trail, key, author, facts): writes who did what into the audit trail and keeps the call's id for a day; returns the
-- id of the entry. `facts`: further fields, name and value in turn.
local function audit(trail, key, author, facts)
  local last = redis.call('XREVRANGE', trail, '+', '-', 'COUNT', 1)[1]
  local sequence = last and tonumber(last[2][2]) + 1 or 1
  local entry = redis.call('XADD', trail, 'MAXLEN', '~', 2000, '*', 'sequence', sequence, 'actor', author.actor,
    'action', author.action, 'reason', author.reason, 'call', author.call, unpack(facts))
  if author.call ~= '' then
    redis.call('SET', key, author.fingerprint .. ' ' .. entry, 'EX', 86400)
  end
  return entry
end
