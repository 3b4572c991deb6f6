-- The twin of limiter/slidingwindow.go. Its state is what was admitted in this
-- window and in the previous one. Its value is "wSTART:LENGTH:THIS:PREVIOUS",
-- the first two in microseconds.
-- Numbers: tokens per window, ticks of a window, the tick in microseconds.

return {
  width = 2,  -- numbers of a state
  widest = 72, -- bytes of a value

  limit = function(now, args, i)
    local limit = {most = tonumber(args[i]), length = tonumber(args[i + 1]), tick = tonumber(args[i + 2])}
    limit.micros = limit.length * limit.tick
    limit.now = now
    limit.start = now - fmod(now, limit.micros)
    limit.left = limit.length - floor(now - limit.start, limit.tick)
    return limit
  end,

  open = function(limit, value)
    local start, length, this, previous = match(value, '^w(%d+):(%d+):(%d+):(%d+)$')
    if not start then return 0, 0, false end
    start, length, this, previous = tonumber(start), tonumber(length), tonumber(this), tonumber(previous)
    local full = start + length
    if this > 0 then full = full + length end
    if full <= limit.now then return 0, 0, false end
    local old = false
    if length ~= limit.micros then -- the limit was changed
      return math.min(this + previous, limit.most), 0, true
    elseif start == limit.start - length then
      this, previous = 0, this
    elseif start ~= limit.start then -- the clock went back
      old = true
    end
    local a, b = math.min(this, limit.most), math.min(previous, limit.most)
    return a, b, old or a ~= this or b ~= previous
  end,

  room = function(limit, this, previous, cost)
    local free = limit.most * limit.length - this * limit.length - previous * limit.left
    if free < 0 then return 0 end
    return floor(free, cost * limit.length)
  end,

  take = function(_, this, previous, cost)
    return this + cost, previous
  end,

  give = function(_, this, previous, cost)
    return math.max(0, this - cost), previous
  end,

  value = function(limit, this, previous)
    local full = limit.start + limit.micros
    if this > 0 then full = full + limit.micros end
    return format('w%.0f:%.0f:%.0f:%.0f', limit.start, limit.micros, this, previous), full - limit.now
  end,
}
