-- empty_line(line, generation): forgets every session of the line; tickets of an older generation are worthless from now on.
local function empty_line(line, generation)
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
  redis.call('HSET', KEYS[4], 'generation', generation)
  line.config.generation = generation
end
