--- @include "queue/places"
--- @include "queue/close_queue"
--- @include "queue/flags"
--- @include "queue/rare"
-- claim_jobs(queue, worker, claim): leases up to `claim.most` jobs, one of them a suspect if `claim.suspects`, under one fence, and holds
-- back those whose task is paused;
-- for each its id, attempts, lost and the wall ms since when it was pending; and their bodies. A reply carries a MiB of bodies at most, but one job.
-- A job of a limit key counts as two: its claim, and the end that follows it and hands its slot on, cost as much.
local MOST_BYTES, MOST_WEIGHT = 1048576, 64

local function claim_jobs(queue, worker, claim)
  local found, from_suspects = places.next_jobs(claim)
  local claimed, claimed_bodies = {}, {}
  if #found == 0 then
    return claimed, claimed_bodies
  end
  local ids = {}
  for index = 1, #found, 2 do
    ids[#ids + 1] = found[index]
  end
  local bodies, metas = redis.call('HMGET', BODY, unpack(ids)), redis.call('HMGET', META, unpack(ids))
  queue.fence = math.max(queue.now_us, queue.fence + 1)
  local active, kept, held_back, bytes, weight, taken = {}, {}, {}, 0, 0, 0
  local ends = queue.clock + claim.lease
  -- A plain job's meta differs from the next one's by its score and its bytes alone.
  local plain_head = struct.pack('<BHHd', 0, 0, 0, queue.fence)
  local plain_tail = struct.pack('<ddc16BBH', queue.clock + claim.hard, queue.now, worker, 0, 0, 0)
  for index, id in ipairs(ids) do
    local body = bodies[index]
    if body then
      local size, flags = #body, string.byte(body, 1)
      if flags > 0 and is_set(flags, IS_LARGE) then
        size = size + redis.call('HSTRLEN', LARGE_BODY, id)
      end
      bytes = bytes + size
      weight = weight + (flags > 0 and is_set(flags, IS_LIMITED) and 2 or 1)
      if taken > 0 and (bytes > MOST_BYTES or weight > MOST_WEIGHT) then
        break
      end
      local score, attempts, lost = tonumber(found[index * 2]), 0, 0
      if queue.tasks and rare().is_task_paused(queue, id, body) then
        held_back[#held_back + 1] = { id, body, metas[index], score }
      else
        local ready = score % BAND
        queue.virtual = math.max(queue.virtual, ready)
        local packed
        if flags == 0 and not metas[index] then
          packed = plain_head .. struct.pack('<dI', score, size) .. plain_tail
        else
          packed, attempts, lost, ready = rare().hold(queue, id, body, metas[index], {
            score = score, bytes = size, worker = worker, hard = queue.clock + claim.hard, is_suspect = index <= from_suspects,
          })
        end
        local next_pair, number = #active + 1, #claimed + 1
        active[next_pair], active[next_pair + 1] = ends, id
        kept[next_pair], kept[next_pair + 1] = id, packed
        claimed[number] = { id, attempts, lost, ready }
        claimed_bodies[number] = body
      end
    else
      rare().forget(queue, id, false)
    end
    taken = index
  end
  places.begin_leases(ids, taken, from_suspects, active)
  -- What that hands on to others becomes pending: only now, when nobody goes by ranks any more.
  for _, job in ipairs(held_back) do
    rare().hold_back(queue, unpack(job))
  end
  if #claimed > 0 then
    redis.call('HSET', META, unpack(kept))
    count(queue, 'claimed', #claimed)
  end
  return claimed, claimed_bodies
end
