-- Whether id `one` stands before id `other` among equal scores: byte by byte, as the server has them. Lua's own comparison of
-- texts goes by the language that the server was started in.
local function is_before(one, other)
  for index = 1, math.min(#one, #other) do
    local left, right = string.byte(one, index), string.byte(other, index)
    if left ~= right then
      return left < right
    end
  end
  return #one < #other
end

-- rank_before(score, id): how many sessions stand before that score (text) and id, whether such a one is there or not, and
-- whether it is. Halves the sessions of equal score, some twenty looks at the most.
local function rank_before(score, id)
  local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', KEYS[1], score, score)
  local ends = high
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(redis.call('ZRANGE', KEYS[1], middle, middle)[1], id) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low, low < ends and redis.call('ZRANGE', KEYS[1], low, low)[1] == id
end
