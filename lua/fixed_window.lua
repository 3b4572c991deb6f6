-- The twin of limiter/fixedwindow.go. Its state is what was admitted in this
-- window. Its value is "fEND:COUNT", the first in microseconds.
-- Numbers: tokens per window, then the length of windows in microseconds; or
-- 0 and the bounds of some windows of a calendar, of which one holds now.

return {
  width = 1,  -- numbers of a state
  widest = 40, -- bytes of a value

  limit = function(now, args, i)
    local limit = {most = tonumber(args[i]), now = now}
    local length = tonumber(args[i + 1])
    if length > 0 then
      limit.last = now - fmod(now, length) + length
      return limit
    end
    local n = tonumber(args[i - 1]) -- how many numbers there are
    for j = i + 2, i + n - 1 do
      limit.last = tonumber(args[j])
      if now < limit.last then break end
    end
    if now >= limit.last then -- a clock far ahead; the last window goes on
      limit.last = now + 1000000
    end
    return limit
  end,

  open = function(limit, value)
    local last, count = match(value, '^f(%d+):(%d+)$')
    if not last then return 0, 0, false end
    last, count = tonumber(last), tonumber(count)
    if last <= limit.now then return 0, 0, false end
    local a = math.min(count, limit.most)
    return a, 0, a ~= count or last ~= limit.last
  end,

  room = function(limit, count, _, cost)
    return floor(limit.most - count, cost)
  end,

  take = function(_, count, _, cost)
    return count + cost, 0
  end,

  give = function(_, count, _, cost)
    return math.max(0, count - cost), 0
  end,

  value = function(limit, count)
    return format('f%.0f:%.0f', limit.last, count), limit.last - limit.now
  end,
}
