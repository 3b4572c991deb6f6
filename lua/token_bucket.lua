-- The twin of limiter/tokenbucket.go. Its state is what the bucket lacks to be
-- full, in units. Its value is the time at which it is full again: "AT" in
-- microseconds, or "AT:FRAC" with the rest in units, or with a letter behind
-- them when the limit is counted in milliseconds (m) or seconds (s).
-- Numbers: units a token is worth, units that flow in per tick, units of a
-- full bucket, and the tick in microseconds.

local letters = {[1] = '', [1000] = 'm', [1000000] = 's'}
local lengths = {[''] = 1, m = 1000, s = 1000000}

return {
  width = 1,  -- numbers of a state
  widest = 40, -- bytes of a value

  limit = function(now, args, i)
    local token, refill = tonumber(args[i]), tonumber(args[i + 1])
    local size, tick = tonumber(args[i + 2]), tonumber(args[i + 3])
    local start, longest = floor(now, tick), floor(size, refill)
    local whole, rest = '%d' .. letters[tick], '%d:%d' .. letters[tick]
    local limit = {}

    function limit.open(value)
      local at, frac, length, bare = nil, 0, 1, false
      if find(value, '%D') then
        at, frac, length = match(value, '^(%d+):?(%d*)([ms]?)$')
        if not at then return 0, 0 end
        at, frac, length = tonumber(at), tonumber(frac) or 0, lengths[length]
      else -- most values; quicker than a pattern with captures
        at = tonumber(value) or 0
        bare = #value == 16 and at >= 1e15 -- no zero in front, as INCRBY wants it
      end
      local full = at
      if frac > 0 then full = full + 1 end
      full = full * length
      if length ~= tick then -- the limit was changed; round up
        if full <= now then return 0, 0 end
        at, frac = ceil(full, tick), 0
      end
      local ticks = at - start
      if ticks < 0 then return 0, 0, full, false, bare end
      if ticks > longest then return size, 0, full, true, bare end
      if frac > refill then frac = refill end
      local debt = ticks * refill
      if frac > size - debt then return size, 0, full, true end
      return debt + frac, 0, full, false, bare
    end

    function limit.has(debt, _, cost) return cost * token <= size - debt end

    function limit.room(debt, _, cost) return floor(size - debt, cost * token) end

    function limit.take(debt, _, cost) return debt + cost * token, 0 end

    function limit.give(debt, _, cost, taken)
      local units = cost * token
      if taken and start > taken then -- without what has flowed in since
        if start - taken > longest then return debt, 0 end
        units = math.max(0, units - (start - taken) * refill)
      end
      return math.max(0, debt - units), 0
    end

    function limit.value(debt)
      local frac = refill > 1 and fmod(debt, refill) or 0
      local at = start + (debt - frac) / refill
      if frac > 0 then return (at + 1) * tick, format(rest, at, frac) end
      if tick > 1 then return at * tick, format(whole, at) end
      return at
    end

    return limit
  end,
}
