-- take.lua decides a batch of checks over many buckets, exactly as
-- limiter.Decide does in Go, and returns what it saw, so that the caller can
-- replay the rule and give everybody their own answer.
--
-- KEYS     one per bucket, all in one slot, grouped by limit
-- ARGV[1]  now, in microseconds since the Unix epoch; empty: ask Redis
-- ARGV[2]  how many limits there are; then for each of them six numbers:
--            token     units that one token is worth
--            refill    units that flow in per tick
--            capacity  units that a full bucket holds
--            tick      length of a tick, in microseconds
--            keys      how many of KEYS, in order, have this limit
--            plain     how many of these, the first, are asked for one token
--                      by one check and are named in no step below
-- then     the steps, in order, each all or nothing, each
--            times     how often the same check is asked, one after the other
--            n         how many buckets it needs; then for each of them
--                        index  of its key, from 1
--                        units  to take; negative: to give back, with n = 1
--
-- Returns {now, debt of KEYS[1], debt of KEYS[2], ...}: what each bucket owed
-- before the batch. All numbers are integers below 2^53, which doubles hold
-- exactly; math.fmod is exact there and math.floor of a quotient is not.
--
-- A bucket is a string, the time at which it is full again: "AT" in
-- microseconds, or "AT:FRAC" with the rest in units, or with a letter behind
-- them when its limit is counted in milliseconds (m) or seconds (s). A bucket
-- that is full, absent or not readable owes nothing. Every argument is read
-- before the first write, because Redis does not roll back.

local tonumber, fmod, format, match = tonumber, math.fmod, string.format, string.match

local LETTERS = {[1] = '', [1000] = 'm', [1000000] = 's'}
local TICKS = {[''] = 1, m = 1000, s = 1000000}
local WIDEST = 40           -- bytes of a bucket; matching a longer string could take for ever
local SLACK = 10000         -- ms a key outlives its use, for clocks that differ after a failover
local LONGEST = 3153600000000 -- ms; a century, within what PX takes

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

-- ticks rounds a number of units up to the ticks in which they flow in.
local function ticks(units, refill)
  local rest = fmod(units, refill)
  if rest > 0 then units = units - rest + refill end
  return units / refill
end

-- owed reads a stored bucket.
local function owed(value, limit)
  if not value or #value > WIDEST then return 0 end
  local at, frac, letter = match(value, '^(%d+):?(%d*)([ms]?)$')
  if not at then return 0 end
  at, frac = tonumber(at), tonumber(frac) or 0
  local tick = TICKS[letter]
  if tick ~= limit.tick then -- the limit was changed; round up
    if frac > 0 then at = at + 1 end
    if at * tick <= now then return 0 end
    at, frac = ticks(at * tick, limit.tick), 0
  end
  local left = at - limit.now
  if left < 0 then return 0 end
  if left > limit.longest then return limit.capacity end
  if frac > limit.refill then frac = limit.refill end
  local debt = left * limit.refill
  if frac >= limit.capacity - debt then return limit.capacity end
  return debt + frac
end

local values = redis.call('MGET', unpack(KEYS))
local limits, debts, dirty = {}, {}, {} -- by key
local result = {now}
local arg, key = 3, 0
for _ = 1, tonumber(ARGV[2]) do
  local limit = {
    token = tonumber(ARGV[arg]),
    refill = tonumber(ARGV[arg + 1]),
    capacity = tonumber(ARGV[arg + 2]),
    tick = tonumber(ARGV[arg + 3]),
  }
  limit.now = (now - fmod(now, limit.tick)) / limit.tick
  limit.longest = (limit.capacity - fmod(limit.capacity, limit.refill)) / limit.refill
  local plain = key + tonumber(ARGV[arg + 5])
  for i = key + 1, key + tonumber(ARGV[arg + 4]) do
    local debt = owed(values[i], limit)
    limits[i] = limit
    result[i + 1] = debt
    if i <= plain and limit.token <= limit.capacity - debt then
      debt = debt + limit.token
      dirty[i] = true
    end
    debts[i] = debt
  end
  key = key + tonumber(ARGV[arg + 4])
  arg = arg + 6
end

while ARGV[arg] do
  local times, n = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local first = arg + 2
  arg = first + 2 * n
  for i = first, arg - 1, 2 do -- how often do all of its buckets have the units?
    local units = tonumber(ARGV[i + 1])
    if units > 0 then
      local k = tonumber(ARGV[i])
      local free = limits[k].capacity - debts[k]
      times = math.min(times, (free - fmod(free, units)) / units)
    end
  end
  for i = first, arg - 1, 2 do
    local k = tonumber(ARGV[i])
    local debt = debts[k] + times * tonumber(ARGV[i + 1])
    if debt < 0 then debt = 0 end
    if debt ~= debts[k] then
      debts[k], dirty[k] = debt, true
    end
  end
end

for i = 1, #KEYS do
  if dirty[i] then
    local debt = debts[i]
    if debt == 0 then
      redis.call('DEL', KEYS[i])
    else
      local limit = limits[i]
      local rest = fmod(debt, limit.refill)
      local at = limit.now + (debt - rest) / limit.refill
      local value
      if rest == 0 then
        value = format('%.0f%s', at, LETTERS[limit.tick])
      else
        value = format('%.0f:%.0f%s', at, rest, LETTERS[limit.tick])
      end
      local life = ticks(ticks(debt, limit.refill) * limit.tick, 1000) + SLACK
      if life > LONGEST then life = LONGEST end
      redis.call('SET', KEYS[i], value, 'PX', format('%.0f', life))
    end
  end
end

return result
