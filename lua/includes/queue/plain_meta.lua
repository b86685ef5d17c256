-- What most jobs need of the packed meta (see meta.lua) is read without a table, by where it is.
local SUSPECT = 2
local FENCE_FROM, FENCE_TO, BYTES_FROM, WORKER_FROM, WORKER_TO, UNIQUE_LENGTH = 6, 13, 22, 42, 57, 58

-- is_held(packed, fence, worker): whether a lease is this worker's under this fence (packed as 8 bytes).
local function is_held(packed, fence, worker)
  return string.sub(packed, FENCE_FROM, FENCE_TO) == fence and string.sub(packed, WORKER_FROM, WORKER_TO) == worker
end

-- is_plain(packed): whether nothing but removal is left to do when the job ends: no flag is set, and no key is held.
local function is_plain(packed)
  local flags, unique = string.byte(packed, 1), string.byte(packed, UNIQUE_LENGTH)
  return (flags == 0 or flags == SUSPECT) and unique == 0
end

-- bytes_of(packed): what a claimed job's body takes.
local function bytes_of(packed)
  return (struct.unpack('<I', packed, BYTES_FROM))
end
