-- KEYS of the scripts that move jobs from state to state, by their names, where pending and active jobs are in streams.
local BODY, LARGE_BODY, META, RESULT, UNIQUE, ENTRIES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local SCHEDULED, RETRY = KEYS[7], KEYS[8]
local PARKED, DEAD, COMPLETED, CANCELLED = KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local CONF, WAKE = KEYS[13], KEYS[14]
local HELD, LIMITS, RATES = KEYS[15], KEYS[16], KEYS[17]
local OUTBOX, OUTGOING, BLOCKED, PARTS = KEYS[18], KEYS[19], KEYS[20], KEYS[21]
-- By band: 0 for priority 9 up to 9 for priority 0, then the suspects.
local STREAMS, OF_SUSPECTS = {}, 10
for band = 0, OF_SUSPECTS do
  STREAMS[band] = KEYS[22 + band]
end
local JOB_KEYS = 32
