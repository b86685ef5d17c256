-- put(book, id, score, ends): writes a session's score and end, in the store and in the book.
local function put(book, id, score, ends)
  redis.call('ZADD', KEYS[1], score, id)
  redis.call('ZADD', KEYS[2], ends, id)
  book.score[id], book.ends[id] = score, ends
end
