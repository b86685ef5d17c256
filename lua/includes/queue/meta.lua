--- @include "queue/plain_meta"
-- What is known of a job besides its body, packed: see the data dictionary. A plain pending or scheduled job has none.
local CANCELLING, LARGE, LIMITED, WAITS, PART, JOINED, STOPPING = 1, 4, 8, 16, 32, 64, 128
local NOBODY = string.rep('\0', 16)

-- unpack_meta(packed): a table, with the defaults of a plain job where there is none.
local function unpack_meta(packed)
  if not packed then
    return { flags = 0, attempts = 0, lost = 0, fence = 0, score = 0, bytes = 0, hard = 0, at = 0, worker = NOBODY, unique = '', reason = '', error = '' }
  end
  local meta = {}
  meta.flags, meta.attempts, meta.lost, meta.fence, meta.score, meta.bytes, meta.hard, meta.at, meta.worker, meta.unique, meta.reason, meta.error =
    struct.unpack('<BHHddIddc16Bc0Bc0Hc0', packed)
  return meta
end

local function pack_meta(meta)
  return struct.pack(
    '<BHHddIddc16Bc0Bc0Hc0',
    meta.flags, math.min(meta.attempts, 65535), math.min(meta.lost, 65535), meta.fence, meta.score, meta.bytes, meta.hard, meta.at, meta.worker,
    #meta.unique, meta.unique, #meta.reason, meta.reason, #meta.error, meta.error
  )
end

-- has_flag(meta, flag): whether one of the flags above is set.
local function has_flag(meta, flag)
  return math.floor(meta.flags / flag) % 2 == 1
end

-- has_reason(packed, reason): whether that is the job's reason: of a parked one its task type.
local function has_reason(packed, reason)
  local from = UNIQUE_LENGTH + 1 + string.byte(packed, UNIQUE_LENGTH)
  return string.byte(packed, from) == #reason and string.sub(packed, from + 1, from + #reason) == reason
end
