-- take.lua decides a batch of checks over many buckets, exactly as
-- limiter.Decide does in Go, and returns what it saw, so that the caller can
-- replay the rule and give everybody their own answer. The steps of the
-- algorithms stand before it, in the table algorithms; README.md describes them.
--
-- KEYS     one per bucket, all in one slot, grouped by limit
-- ARGV[1]  now, in microseconds since the Unix epoch; empty: ask Redis
-- ARGV[2]  how many limits there are; then for each of them
--            algorithm  its name
--            n          how many numbers it is given, and these numbers
--            keys       how many of KEYS, in order, have this limit
--            plain      how many of these, the first, are asked for one token
--                       by one check and are named in no step below
-- then     the steps, in order, each all or nothing, each
--            times      how often the same check is asked, one after the other;
--                       0: it is not, but what is stale is written anew
--            n          how many buckets it needs; then for each of them
--                         index  of its key, from 1
--                         cost   tokens to take; negative: to give back, and
--                                empty: to fill the bucket, both with n = 1;
--                                COST@TAKEN: to give back what was taken then,
--                                with n = 1 and times = 1
--
-- Returns {now, state of KEYS[1], state of KEYS[2], ...}: what each bucket was
-- like before the batch, in as many numbers as its algorithm has. All numbers
-- are integers below 2^53, which doubles hold exactly; math.fmod is exact
-- there and math.floor of a quotient is not.
--
-- A bucket is a string; one that is full, absent or not readable is the same.
-- Every argument is read before the first write, because Redis does not roll
-- back.
--
-- When a key expires follows from its value alone, so that a write which does
-- not change it can keep the expiry, which is a third cheaper: it goes 10 to 20
-- seconds after the bucket is full, at a whole 10 seconds of the clock. Those
-- seconds are for clocks that differ after a failover.

local GRID = 10000000 -- in microseconds

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local values = redis.call('MGET', unpack(KEYS)) -- what is stored; further down, what is to be stored
local lives = {} -- by key, for how many milliseconds to store it, unless it expires when it did

-- store notes what to store: a value that says the bucket is full at full,
-- where the one that is there, if any, says was.
local cell, life
local function store(i, value, full, was)
  values[i] = value
  local c = full - full % GRID
  if not was or c ~= was - was % GRID then
    if c ~= cell then
      cell, life = c, format('%d', ceil(c + 2 * GRID - now, 1000))
    end
    lives[i] = life
  end
end

local limits, as, bs, fulls, stale, dirty = {}, {}, {}, {}, {}, {} -- by key that is not plain
local result, n = {now}, 1
local arg, key = 3, 0
for _ = 1, tonumber(ARGV[2]) do
  local alg = algorithms[ARGV[arg]]
  local limit = alg.limit(now, ARGV, arg + 2)
  arg = arg + 2 + tonumber(ARGV[arg + 1])
  local last = key + tonumber(ARGV[arg])
  local plain = key + tonumber(ARGV[arg + 1])
  arg = arg + 2
  local open, has, take, value, wide, widest = limit.open, limit.has, limit.take, limit.value, alg.width == 2, alg.widest
  for i = key + 1, last do
    local v, a, b, full, old = values[i], 0, 0, nil, nil
    if v and #v <= widest then -- a pattern on a longer one could take for ever
      a, b, full, old = open(v)
    end
    n = n + 1
    result[n] = a
    if wide then
      n = n + 1
      result[n] = b
    end
    if i > plain then
      limits[i], as[i], bs[i], fulls[i], stale[i] = limit, a, b, full, old
      values[i] = false
    elseif has(a, b, 1) then
      local text, at = value(take(a, b, 1))
      store(i, text, at, full)
    elseif old then
      local text, at = value(a, b)
      store(i, text, at, full)
    else
      values[i] = false
    end
  end
  key = last
end

while ARGV[arg] do
  local times, first = tonumber(ARGV[arg]), arg + 2
  arg = first + 2 * tonumber(ARGV[arg + 1])
  for i = first, arg - 1, 2 do -- how often do all of its buckets have the tokens?
    local k, cost = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    if cost and cost > 0 then
      times = math.min(times, limits[k].room(as[k], bs[k], cost))
      if stale[k] then dirty[k] = true end
    end
  end
  for i = first, arg - 1, 2 do
    local k, cost = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local a, b = 0, 0
    if cost and cost > 0 then
      a, b = limits[k].take(as[k], bs[k], times * cost)
    elseif cost then
      a, b = limits[k].give(as[k], bs[k], times * -cost)
    elseif ARGV[i + 1] ~= '' then
      local back, taken = match(ARGV[i + 1], '^(%d+)@(%d+)$')
      cost = -tonumber(back)
      a, b = limits[k].give(as[k], bs[k], -cost, tonumber(taken))
    end
    if a ~= as[k] or b ~= bs[k] or not cost then -- what this limit cannot read is gone too
      as[k], bs[k], dirty[k] = a, b, true
    end
  end
end
for i in pairs(dirty) do
  if as[i] == 0 and bs[i] == 0 then
    values[i] = ''
  else
    local text, at = limits[i].value(as[i], bs[i])
    store(i, text, at, fulls[i])
  end
end

local call = redis.call
for i = 1, #KEYS do
  local text = values[i]
  if text == '' then
    call('DEL', KEYS[i])
  elseif text and lives[i] then
    call('SET', KEYS[i], text, 'PX', lives[i])
  elseif text then
    call('SET', KEYS[i], text, 'KEEPTTL')
  end
end

return result
