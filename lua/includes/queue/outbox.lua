--- @include "queue/step_keys"
--- @include "queue/body"
-- The outbox: what this queue hands over to others, written with what caused it and kept until it has arrived. An entry: wall ms of
-- its making, how often it was handed out, its kind, the queue that it is for, and what is for that queue.

-- post(queue, name, entry): leaves an entry, its kind and all after, for whoever comes to deliver it.
local REPORT = 2

local function post(queue, name, entry)
  queue.has_posted = true
  redis.call('HSET', OUTBOX, name, struct.pack('<dH', queue.now, 0) .. entry)
  redis.call('ZADD', OUTGOING, queue.now, name)
end

-- post_all(queue, blob): the entries that pack_outgoing in queue_scripts.py made.
local function post_all(queue, blob)
  local at = 1
  while at <= #blob do
    local name, entry
    name, entry, at = struct.unpack('<c17Ic0', blob, at)
    post(queue, name, entry)
  end
end

-- report(queue, id, outcome, data): tells the job that this one is a part of how it ended, if it is one. `outcome`: 0 completed, 1
-- dead, 2 cancelled, 3 purged. `data`: its result, or why. To be called while its body is there.
local function report(queue, id, outcome, data)
  local body = redis.call('HGET', BODY, id)
  if body then
    local part, target = read_part(body)
    if part then
      local entry = struct.pack('<BBc0', REPORT, #target, target) .. part .. string.char(outcome) .. data
      post(queue, string.char(REPORT) .. id, entry)
    end
  end
end

-- pass_on(blob, id): the same entries, whose jobs stand for this one in the job that it is a part of.
local function pass_on(blob, id)
  local body = redis.call('HGET', BODY, id)
  local part, target = read_part(body)
  if not part then
    return blob
  end
  part = part .. struct.pack('<Bc0', #target, target)
  local passed, at = {}, 1
  while at <= #blob do
    local name, entry
    name, entry, at = struct.unpack('<c17Ic0', blob, at)
    local _, starts = struct.unpack('<xBc0', entry)
    local jobs = { string.sub(entry, 1, starts - 1) }
    while starts <= #entry do
      local job
      job, starts = struct.unpack('<Ic0', entry, starts)
      local flags = string.byte(job, 17)
      if not is_set(flags, IS_PART) then
        local from = part_from(flags, 43)
        job = string.sub(job, 1, 16) .. string.char(flags + IS_PART) .. string.sub(job, 18, from - 1) .. part .. string.sub(job, from)
      end
      jobs[#jobs + 1] = struct.pack('<Ic0', #job, job)
    end
    entry = table.concat(jobs)
    passed[#passed + 1] = name .. struct.pack('<Ic0', #entry, entry)
  end
  return table.concat(passed)
end
