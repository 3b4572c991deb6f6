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
    local limit = {
      token = tonumber(args[i]), refill = tonumber(args[i + 1]),
      size = tonumber(args[i + 2]), tick = tonumber(args[i + 3]),
    }
    limit.micros, limit.now = now, floor(now, limit.tick)
    limit.longest = floor(limit.size, limit.refill)
    return limit
  end,

  open = function(limit, value)
    local at, frac, letter = match(value, '^(%d+):?(%d*)([ms]?)$')
    if not at then return 0, 0, false end
    at, frac = tonumber(at), tonumber(frac) or 0
    local tick = lengths[letter]
    if tick ~= limit.tick then -- the limit was changed; round up
      if frac > 0 then at = at + 1 end
      if at * tick <= limit.micros then return 0, 0, false end
      at, frac = ceil(at * tick, limit.tick), 0
    end
    local ticks = at - limit.now
    if ticks < 0 then return 0, 0, false end
    if ticks > limit.longest then return limit.size, 0, true end
    if frac > limit.refill then frac = limit.refill end
    local debt = ticks * limit.refill
    if frac > limit.size - debt then return limit.size, 0, true end
    return debt + frac, 0, false
  end,

  room = function(limit, debt, _, cost)
    return floor(limit.size - debt, cost * limit.token)
  end,

  take = function(limit, debt, _, cost)
    return debt + cost * limit.token, 0
  end,

  give = function(limit, debt, _, cost)
    return math.max(0, debt - cost * limit.token), 0
  end,

  value = function(limit, debt)
    local frac = fmod(debt, limit.refill)
    local at = limit.now + (debt - frac) / limit.refill
    local life = ceil(debt, limit.refill) * limit.tick
    if frac == 0 then return format('%.0f%s', at, letters[limit.tick]), life end
    return format('%.0f:%.0f%s', at, frac, letters[limit.tick]), life
  end,
}
