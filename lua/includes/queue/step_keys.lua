-- KEYS of the scripts that move jobs from state to state, by their names.
local BODY, LARGE_BODY, META, RESULT, UNIQUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PENDING, SUSPECTS, SCHEDULED, RETRY, ACTIVE = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local PARKED, DEAD, COMPLETED, CANCELLED = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local CONF, WAKE = KEYS[15], KEYS[16]
