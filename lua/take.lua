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
-- Writing is most of the cost, so there are two shorter ways than a SET with an
-- expiry. When a key expires follows from its value alone: 10 to 20 seconds after
-- the bucket is full, at a whole 10 seconds of the clock (those seconds are for
-- clocks that differ after a failover). So a value that leaves this as it is
-- keeps the expiry. And a value that is nothing but the time at which the bucket
-- is full, where there was such a one before, is added to.

local GRID = 10000000 -- in microseconds

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local values = redis.call('MGET', unpack(KEYS)) -- what is stored; further down, what is to be stored
local how = {} -- to store it, by key: for so many milliseconds; true adds it; else the key expires when it did

-- store notes what to store for a bucket that is full at full, and the value, if
-- that is more than this time. What is there now says was, and says no more than
-- that if it is bare.
local cell, life, step, added
local function store(i, was, bare, full, value)
  local c = full - full % GRID
  if not was or c ~= was - was % GRID then
    if c ~= cell then
      cell, life = c, format('%d', ceil(c + 2 * GRID - now, 1000))
    end
    how[i] = life
  elseif bare and not value then
    if full - was ~= step then
      step = full - was
      added = format('%d', step)
    end
    values[i], how[i] = added, true
    return
  end
  values[i] = value or format('%d', full)
end

local limits, as, bs, fulls, stale, bares, dirty = {}, {}, {}, {}, {}, {}, {} -- by key that is not plain
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
    local v, a, b, full, old, bare = values[i], 0, 0, nil, nil, nil
    if v and #v <= widest then -- a pattern on a longer one could take for ever
      a, b, full, old, bare = open(v)
    end
    n = n + 1
    result[n] = a
    if wide then
      n = n + 1
      result[n] = b
    end
    if i > plain then
      limits[i], as[i], bs[i], fulls[i], stale[i], bares[i] = limit, a, b, full, old, bare
      values[i] = false
    elseif has(a, b, 1) then
      store(i, full, bare, value(take(a, b, 1)))
    elseif old then
      store(i, full, bare, value(a, b))
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
    store(i, fulls[i], bares[i], limits[i].value(as[i], bs[i]))
  end
end

local call = redis.call
for i = 1, #KEYS do
  local value, life = values[i], how[i]
  if value == '' then
    call('DEL', KEYS[i])
  elseif life == true then
    call('INCRBY', KEYS[i], value)
  elseif value and life then
    call('SET', KEYS[i], value, 'PX', life)
  elseif value then
    call('SET', KEYS[i], value, 'KEEPTTL')
  end
end

return result
