--- @include "queue/moves"
-- hold(queue, id, body, packed, lease): the meta of a claimed job that is no plain one, packed, its attempts, lost leases, and the wall ms
-- since when it was pending.
local function hold(queue, id, body, packed, lease)
  local meta = unpack_meta(packed)
  local flags, _, unique = read_head(body)
  if unique ~= '' and is_set(flags, UNTIL_START) then
    release_unique(UNIQUE, unique, id)
    unique = ''
  end
  local ready = has_flag(meta, LIMITED) and meta.at or lease.score % BAND
  meta.unique = unique
  meta.flags = (lease.is_suspect and SUSPECT or 0) + (is_set(flags, IS_LARGE) and LARGE or 0) + (is_set(flags, IS_LIMITED) and LIMITED or 0)
  meta.flags = meta.flags + (is_set(flags, IS_PART) and PART or 0) + (is_set(flags, IS_JOINED) and JOINED or 0)
  meta.fence, meta.worker, meta.at, meta.hard, meta.score, meta.bytes =
    queue.fence, lease.worker, queue.now, lease.hard, lease.score, lease.bytes
  return pack_meta(meta), meta.attempts, meta.lost, ready
end
