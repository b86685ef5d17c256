--- @include "queue/step_keys"
--- @include "queue/score"
-- Where the jobs are that are pending or active: each is an entry, `job`: id and score, of the stream of its priority, or of that of the
-- suspects. One group reads a stream. What it has not delivered yet is pending; of what it has, the consumer `active` has the jobs
-- that are leased, and `returned` those that go before the rest. An entry that is over is deleted, so nothing is ever trimmed.
-- The idle time by which a group knows who is late runs on the server's own clock, which may jump, and leases run on the queue's. So
-- the time of delivery that it is told is the end of the lease on the queue clock, `SHIFT` ms earlier, since it takes none to come.
local places, streams = {}, {}
do
local GROUP, ACTIVE, RETURNED = 'workers', 'active', 'returned'
local SHIFT = 137438953472 -- 2^37 ms: no lease is longer than four years
local START, LOOKED_AT = '0-0', 200
local ENTRY, FIRST_BAND = '<c16d', 48 -- the character 0
local bands, is_there, first_end, delivered, handed_back = nil, {}, nil, {}, {}

-- streams.all(): the bands of the streams that there are, in the order in which their jobs are claimed; the suspects come last here.
function streams.all()
  if not bands then
    local known = redis.call('HMGET', CONF, 'streams', 'first_end')
    bands, first_end = {}, tonumber(known[2]) or math.huge
    for band in string.gmatch(known[1] or '', '%d+') do
      bands[#bands + 1] = tonumber(band)
      is_there[tonumber(band)] = true
    end
  end
  return bands
end

-- streams.delivered_to(band): the last entry that is delivered and not over.
function streams.delivered_to(band)
  return redis.call('XPENDING', STREAMS[band], GROUP)[3] or START
end

local function add(band, id, score)
  streams.all()
  if not is_there[band] then
    redis.call('XGROUP', 'CREATE', STREAMS[band], GROUP, '0', 'MKSTREAM')
    is_there[band] = true
    bands[#bands + 1] = band
    table.sort(bands)
    redis.call('HSET', CONF, 'streams', table.concat(bands, ' '))
  end
  return string.char(FIRST_BAND + band) .. redis.call('XADD', STREAMS[band], '*', 'job', struct.pack(ENTRY, id, score))
end

-- entry_of(place): the stream, and the entry of it, that `entries` has for a job; nil when it has none.
local function entry_of(place)
  if place then
    return string.byte(place) - FIRST_BAND, string.sub(place, 2)
  end
end

-- entries_of(ids): the entries of these jobs by the bands of their streams; `at`: the places among `ids` of each.
local function entries_of(ids)
  local found = {}
  for index, place in ipairs(redis.call('HMGET', ENTRIES, unpack(ids))) do
    local band, entry = entry_of(place)
    if band then
      found[band] = found[band] or { at = {} }
      table.insert(found[band], entry)
      table.insert(found[band].at, index)
    end
  end
  return found
end

-- assign(band, consumer, entries, ends): gives delivered entries to another consumer; `ends`: of their leases, nil: they have none.
local function assign(band, consumer, entries, ends)
  local words = { unpack(entries) }
  if ends then
    words[#words + 1] = 'TIME'
    words[#words + 1] = ends - SHIFT
  end
  words[#words + 1] = 'JUSTID'
  redis.call('XCLAIM', STREAMS[band], GROUP, consumer, 0, unpack(words))
end

local function delete(band, entries)
  redis.call('XACK', STREAMS[band], GROUP, unpack(entries))
  redis.call('XDEL', STREAMS[band], unpack(entries))
end

-- take(band, entries, found): adds id and score of entries that were read to `found`; an entry that is not its job's place is deleted.
local function take(band, entries, found)
  if #entries == 0 then
    return
  end
  local ids, scores, strays, mark, next_place = {}, {}, {}, string.char(FIRST_BAND + band), #found + 1
  for index, entry in ipairs(entries) do
    ids[index], scores[index] = struct.unpack(ENTRY, entry[2][2])
  end
  for index, place in ipairs(redis.call('HMGET', ENTRIES, unpack(ids))) do
    local id, entry = ids[index], entries[index][1]
    if place == mark .. entry then
      found[next_place], found[next_place + 1] = id, scores[index]
      next_place = next_place + 2
      delivered[id] = place
    else
      strays[#strays + 1] = entry
    end
  end
  if #strays > 0 then
    delete(band, strays)
  end
end

-- expect(ends): remembers when the first lease may be over, so that nobody looks before.
local function expect(ends)
  streams.all()
  if ends < first_end then
    first_end = ends
    redis.call('HSET', CONF, 'first_end', ends)
  end
end

-- read(band, most, found): takes the next entries of a stream, those that were handed back first, until `found` has `most` jobs.
local function read(band, most, found)
  for _, from in ipairs({ { RETURNED, '0' }, { ACTIVE, '>' } }) do
    local left = most - #found / 2
    local reply = left > 0 and redis.call('XREADGROUP', 'GROUP', GROUP, from[1], 'COUNT', left, 'STREAMS', STREAMS[band], from[2])
    take(band, reply and reply[1][2] or {}, found)
  end
end

-- leased(band): how many jobs of a stream are active.
local function leased(band)
  for _, consumer in ipairs(redis.call('XPENDING', STREAMS[band], GROUP)[4] or {}) do
    if consumer[1] == ACTIVE then
      return tonumber(consumer[2])
    end
  end
  return 0
end

-- waiting(band): how many jobs of a stream are pending.
local function waiting(band)
  return redis.call('XLEN', STREAMS[band]) - leased(band)
end

-- sum(of, first, last): of the streams of these bands.
local function sum(of, first, last)
  local number = 0
  for _, band in ipairs(streams.all()) do
    if band >= first and band <= last then
      number = number + of(band)
    end
  end
  return number
end

-- places.add_pending(jobs): makes jobs pending that are in no state: score and id of each, one after the other.
function places.add_pending(jobs)
  local added = {}
  for index = 1, #jobs, 2 do
    local score, id = jobs[index], jobs[index + 1]
    if not handed_back[id] then
      added[#added + 1] = id
      added[#added + 1] = add(math.floor(score / BAND), id, score)
    end
  end
  if #added > 0 then
    redis.call('HSET', ENTRIES, unpack(added))
  end
end

-- places.add_suspect(score, id): the same of one that has lost a lease.
function places.add_suspect(score, id)
  if not handed_back[id] then
    redis.call('HSET', ENTRIES, id, add(OF_SUSPECTS, id, score))
  end
end

-- places.end_leases(ids): these jobs are active no more, and are put elsewhere next.
function places.end_leases(ids)
  for band, entries in pairs(entries_of(ids)) do
    delete(band, entries)
  end
  redis.call('HDEL', ENTRIES, unpack(ids))
end

-- places.hand_back(ids): the same of jobs that are added at their old places next.
function places.hand_back(ids)
  for band, entries in pairs(entries_of(ids)) do
    assign(band, RETURNED, entries)
  end
  for _, id in ipairs(ids) do
    handed_back[id] = true
  end
end

-- places.withdraw(set, id): takes a job from a set that `find`, `all_of` or state_of named.
function places.withdraw(set, id)
  if set == ENTRIES then
    places.end_leases({ id })
  else
    redis.call('ZREM', set, id)
  end
end

-- places.next_jobs(claim): id and score of those whose turn it is, one after the other, and how many of them, the first, are suspects.
function places.next_jobs(claim)
  local found, from_suspects = {}, 0
  local order = streams.all()
  if claim.suspects and is_there[OF_SUSPECTS] then
    read(OF_SUSPECTS, 1, found)
    from_suspects = #found / 2
  end
  for _, band in ipairs(order) do
    if band ~= OF_SUSPECTS and #found / 2 < claim.most then
      read(band, claim.most, found)
    end
  end
  return found, from_suspects
end

-- places.begin_leases(ids, taken, from_suspects, leases): of those that `next_jobs` gave, the first `taken` are pending no more.
-- `leases`: end and id of those of them that are active now, one after the other.
function places.begin_leases(ids, taken, _, leases)
  local is_leased, active, returned, over = {}, {}, {}, {}
  for index = 2, #leases, 2 do
    is_leased[leases[index]] = true
  end
  for index, id in ipairs(ids) do
    local band, entry = entry_of(delivered[id])
    if is_leased[id] or index > taken then
      local entries = is_leased[id] and active or returned
      entries[band] = entries[band] or {}
      table.insert(entries[band], entry)
    else
      over[#over + 1] = id
    end
  end
  for band, entries in pairs(active) do
    assign(band, ACTIVE, entries, leases[1])
  end
  if #leases > 0 then
    expect(leases[1])
  end
  for band, entries in pairs(returned) do
    assign(band, RETURNED, entries)
  end
  if #over > 0 then
    places.end_leases(over)
  end
end

-- places.prolong(leases): end and id of leases that last longer, one after the other.
function places.prolong(leases)
  local ids = {}
  for index = 2, #leases, 2 do
    ids[#ids + 1] = leases[index]
  end
  for band, entries in pairs(entries_of(ids)) do
    local by_end = {}
    for number, entry in ipairs(entries) do
      local ends = leases[entries.at[number] * 2 - 1]
      by_end[ends] = by_end[ends] or {}
      table.insert(by_end[ends], entry)
    end
    for ends, of_end in pairs(by_end) do
      assign(band, ACTIVE, of_end, ends)
      expect(ends)
    end
  end
end

local function wall_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- first_end_of(band): the end of the first lease of a stream that has less than `LOOKED_AT`, else nothing that is of use.
local function first_end_of(band)
  local ends, now, deliveries = math.huge, 0, nil
  -- The clock goes on in a script of a Redis 7.0: another look, unless both were at one moment.
  for _ = 1, 5 do
    now = wall_ms()
    deliveries = redis.call('XPENDING', STREAMS[band], GROUP, '-', '+', LOOKED_AT, ACTIVE)
    if wall_ms() == now then
      break
    end
  end
  for _, delivery in ipairs(deliveries) do
    ends = math.min(ends, now - delivery[3] + SHIFT)
  end
  return #deliveries < LOOKED_AT and ends or 0
end

-- places.expired_leases(queue, most): ids of active jobs whose lease is over. A call looks at ten times as many, and the next one goes
-- on where it ended.
function places.expired_leases(queue, most)
  local ids, is_through, order = {}, true, streams.all()
  if queue.clock < first_end then
    return ids
  end
  local idle = wall_ms() - queue.clock + SHIFT
  for _, band in ipairs(order) do
    local field = 'looked_at ' .. band
    local from = redis.call('HGET', CONF, field) or START
    local to = from
    if #ids < most then
      local reply = redis.call('XAUTOCLAIM', STREAMS[band], GROUP, RETURNED, idle, from, 'COUNT', most - #ids)
      local found = {}
      to = reply[1]
      take(band, reply[2], found)
      for index = 1, #found, 2 do
        ids[#ids + 1] = found[index]
      end
      if to ~= from then
        redis.call('HSET', CONF, field, to)
      end
    end
    is_through = is_through and to == START
  end
  -- Until a look is through, the next one goes on in any case, and need not be told when.
  if is_through then
    first_end = math.huge
    for _, band in ipairs(order) do
      first_end = math.min(first_end, first_end_of(band))
    end
    if first_end < math.huge then
      redis.call('HSET', CONF, 'first_end', first_end)
    else
      redis.call('HDEL', CONF, 'first_end')
    end
  end
  return ids
end

streams.group, streams.active, streams.returned, streams.entry = GROUP, ACTIVE, RETURNED, ENTRY
streams.entry_of, streams.sum, streams.leased = entry_of, sum, leased

function places.count_pending()
  return sum(waiting, 0, OF_SUSPECTS - 1)
end

function places.count_suspects()
  return sum(waiting, OF_SUSPECTS, OF_SUSPECTS)
end

-- places.raise_old(): an entry has the place that it was given, so a queue in streams has no ageing.
function places.raise_old()
end
end
