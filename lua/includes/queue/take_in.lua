--- @include "queue/new_places"
--- @include "queue/flags"
--- @include "queue/score"
--- @include "queue/unique_key"
--- @include "queue/settings"
--- @include "queue/wake"
-- read_jobs(all): the jobs that pack_job in queue_scripts.py made, and their ids; or nil and what is wrong.
local HEAD = '<c16BBddd'
local HEAD_LENGTH, LIMIT_LENGTH = 42, 26

local function read_jobs(all)
  local jobs, ids = {}, {}
  for _, packed in ipairs(all) do
    if #packed < HEAD_LENGTH then
      return nil, 'one is too short'
    end
    local id, flags, priority, due, delay, unique_for = struct.unpack(HEAD, packed)
    local starts, unique, limit = HEAD_LENGTH + 1, '', ''
    if is_set(flags, IS_UNIQUE) then
      unique = string.sub(packed, starts, starts + 15)
      starts = starts + 16
    end
    if is_set(flags, IS_LIMITED) then
      limit = string.sub(packed, starts, starts + LIMIT_LENGTH - 1)
      starts = starts + LIMIT_LENGTH
    end
    local part = ''
    if is_set(flags, IS_PART) then
      local name = struct.unpack('<Bc0', packed, starts + PART_LENGTH)
      part = string.sub(packed, starts, starts + PART_LENGTH + #name)
      starts = starts + #part
    end
    -- Made at once, a table is not made anew for each part that comes to it.
    local job = {
      id = id, flags = flags, priority = priority, due = due, delay = delay, unique_for = unique_for,
      unique = unique, limit = limit, part = part, body = string.sub(packed, starts),
    }
    if job.priority > 9 or not (job.due >= 0 and job.due < BAND and job.delay >= 0 and job.delay < BAND and job.unique_for >= 0) then
      return nil, 'priority, due, delay or unique_for is out of range'
    end
    jobs[#jobs + 1] = job
    ids[#ids + 1] = job.id
  end
  return jobs, ids
end

-- admit_all(limited, now): makes jobs that have a key pending, or holds them; whether an idle worker should hear of that. What it needs is
-- made only here: most jobs have no key.
local function admit_all(limited, now)
  --- @include "queue/limits"
  local queue, wakes = { now = now, virtual = tonumber(redis.call('HGET', CONF, 'virtual')) or now }, false
  for _, job in ipairs(limited) do
    local runs = admit(queue, job[1], job[2], unpack_meta(nil), read_limit(job[2]))
    wakes = wakes or runs
  end
  redis.call('HSETNX', CONF, 'virtual', queue.virtual)
  return wakes
end

-- take_in(jobs, ids, now, large_from, is_bounded): puts jobs into the queue; for each 0 and nothing, 1 and nothing when it is known, or 2
-- and the id that holds its unique key, one after the other. `is_bounded`: by the queue's byte budget; when that has no room, an error
-- reply, and nothing is written.
local function take_in(jobs, ids, now, large_from, is_bounded)
  local known = redis.call('HMGET', BODY, unpack(ids))
  local reply, seen, won = {}, {}, {}
  local uniques, bodies, larges, pending, scheduled, limited = {}, {}, {}, {}, {}, {}
  local taken, bytes, earliest = 0, 0, nil
  for index, job in ipairs(jobs) do
    local result, holder = 0, ''
    if known[index] or seen[job.id] then
      result = 1
    elseif job.unique ~= '' then
      local other = won[job.unique] or unique_holder(UNIQUE, job.unique, now)
      if other then
        result, holder = 2, other
      else
        won[job.unique] = job.id
        uniques[#uniques + 1] = job.unique
        uniques[#uniques + 1] = struct.pack('<c16d', job.id, job.unique_for > 0 and now + job.unique_for or 0)
      end
    end
    if result == 0 then
      seen[job.id] = true
      taken = taken + 1
      bytes = bytes + 2 + #job.unique + #job.limit + #job.part + #job.body
      local flags = job.flags
      if #job.body >= large_from then
        flags = flags + IS_LARGE
        larges[#larges + 1] = job.id
        larges[#larges + 1] = job.body
        job.body = ''
      end
      bodies[#bodies + 1] = job.id
      bodies[#bodies + 1] = string.char(flags, job.priority) .. job.unique .. job.limit .. job.part .. job.body
      local due = math.max(job.due, job.delay > 0 and now + job.delay or 0)
      if due > now then
        scheduled[#scheduled + 1] = due
        scheduled[#scheduled + 1] = job.id
        earliest = math.min(earliest or due, due)
      elseif job.limit ~= '' then
        limited[#limited + 1] = { job.id, bodies[#bodies] }
      else
        pending[#pending + 1] = pending_score(job.priority, now)
        pending[#pending + 1] = job.id
      end
    end
    reply[#reply + 1] = result
    reply[#reply + 1] = holder
  end
  if taken == 0 then
    return reply
  end
  local conf = redis.call('HMGET', CONF, 'settings', 'bytes', 'enqueued')
  local held = tonumber(conf[2]) or 0
  local most = conf[1] and read_settings(conf[1]).most_bytes or 0
  if is_bounded and most > 0 and held + bytes > most then
    return redis.error_reply(string.format('FULL the queue holds %.0f bytes and may hold %.0f: there is no room for %.0f more', held, most, bytes))
  end
  if #uniques > 0 then
    redis.call('HSET', UNIQUE, unpack(uniques))
  end
  redis.call('HSET', BODY, unpack(bodies))
  if #larges > 0 then
    redis.call('HSET', LARGE_BODY, unpack(larges))
  end
  local wakes = #pending > 0
  if #pending > 0 then
    places.add_pending(pending)
  end
  if #limited > 0 then
    wakes = admit_all(limited, now) or wakes
  end
  if #scheduled > 0 then
    local first = redis.call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')
    wakes = wakes or not first[2] or earliest < tonumber(first[2])
    redis.call('ZADD', SCHEDULED, unpack(scheduled))
  end
  redis.call('HSET', CONF, 'bytes', string.format('%.0f', held + bytes), 'enqueued', string.format('%.0f', (tonumber(conf[3]) or 0) + taken))
  if wakes then
    wake_one(WAKE)
  end
  return reply
end
