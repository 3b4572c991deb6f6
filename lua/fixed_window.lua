-- The twin of limiter/fixedwindow.go. Its state is what was admitted in this
-- window. Its value is "fEND:COUNT", the first in microseconds.
-- Numbers: tokens per window, then the length of windows in microseconds; or
-- 0 and the bounds of some windows of a calendar, of which one holds now.

-- last returns the end of the window that holds now.
local function last(now, args, i)
  local length = tonumber(args[i + 1])
  if length > 0 then return now - fmod(now, length) + length end
  local n = tonumber(args[i - 1]) -- how many numbers there are
  for j = i + 2, i + n - 1 do
    local bound = tonumber(args[j])
    if now < bound then return bound end
  end
  return now + 1000000 -- a clock far ahead; the last window goes on
end

return {
  width = 1,  -- numbers of a state
  widest = 40, -- bytes of a value

  limit = function(now, args, i)
    local most, finish = tonumber(args[i]), last(now, args, i)
    local limit = {}

    function limit.open(value)
      local full, count = match(value, '^f(%d+):(%d+)$')
      if not full then return 0, 0 end
      full, count = tonumber(full), tonumber(count)
      if full <= now then return 0, 0, full end
      local a = math.min(count, most)
      return a, 0, full, a ~= count or full ~= finish
    end

    function limit.has(count, _, cost) return cost <= most - count end

    function limit.room(count, _, cost) return floor(most - count, cost) end

    function limit.take(count, _, cost) return count + cost, 0 end

    function limit.give(count, _, cost, taken)
      if taken and taken ~= finish then return count, 0 end -- in another window
      return math.max(0, count - cost), 0
    end

    function limit.value(count) return finish, format('f%d:%d', finish, count) end

    return limit
  end,
}
