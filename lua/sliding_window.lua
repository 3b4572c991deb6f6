-- The twin of limiter/slidingwindow.go. Its state is what was admitted in this
-- window and in the previous one. Its value is "wSTART:LENGTH:THIS:PREVIOUS",
-- the first two in microseconds.
-- Numbers: tokens per window, ticks of a window, the tick in microseconds.

return {
  width = 2,  -- numbers of a state
  widest = 72, -- bytes of a value

  limit = function(now, args, i)
    local most, length, tick = tonumber(args[i]), tonumber(args[i + 1]), tonumber(args[i + 2])
    local micros = length * tick
    local begin = now - fmod(now, micros)
    local left = length - floor(now - begin, tick)
    local limit = {}

    function limit.open(value)
      local start, len, this, previous = match(value, '^w(%d+):(%d+):(%d+):(%d+)$')
      if not start then return 0, 0 end
      start, len, this, previous = tonumber(start), tonumber(len), tonumber(this), tonumber(previous)
      local full = start + len
      if this > 0 then full = full + len end
      if full <= now then return 0, 0, full end
      local stale = false
      if len ~= micros then -- the limit was changed
        return math.min(this + previous, most), 0, full, true
      elseif start == begin - len then
        this, previous = 0, this
      elseif start ~= begin then -- the clock went back
        stale = true
      end
      local a, b = math.min(this, most), math.min(previous, most)
      return a, b, full, stale or a ~= this or b ~= previous
    end

    local function free(this, previous) return most * length - this * length - previous * left end

    function limit.has(this, previous, cost) return cost * length <= free(this, previous) end

    function limit.room(this, previous, cost)
      return floor(math.max(0, free(this, previous)), cost * length)
    end

    function limit.take(this, previous, cost) return this + cost, previous end

    function limit.give(this, previous, cost, taken)
      if taken and taken ~= begin then return this, previous end -- in another window
      return math.max(0, this - cost), previous
    end

    function limit.value(this, previous)
      local full = begin + micros
      if this > 0 then full = full + micros end
      return full, format('w%d:%d:%d:%d', begin, micros, this, previous)
    end

    return limit
  end,
}
