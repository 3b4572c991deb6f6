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
--            times      how often the same check is asked, one after the other
--            n          how many buckets it needs; then for each of them
--                         index  of its key, from 1
--                         cost   tokens to take; negative: to give back, and
--                                empty: to fill the bucket, both with n = 1
--
-- Returns {now, state of KEYS[1], state of KEYS[2], ...}: what each bucket was
-- like before the batch, in as many numbers as its algorithm has. All numbers
-- are integers below 2^53, which doubles hold exactly; math.fmod is exact
-- there and math.floor of a quotient is not.
--
-- A bucket is a string; one that is full, absent or not readable is the same.
-- Every argument is read before the first write, because Redis does not roll
-- back.

local SLACK = 10000 -- ms a key outlives its use, for clocks that differ after a failover

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local values = redis.call('MGET', unpack(KEYS))
local algs, limits, as, bs, stale, dirty = {}, {}, {}, {}, {}, {} -- by key
local result, n = {now}, 1
local arg, key = 3, 0
for _ = 1, tonumber(ARGV[2]) do
  local alg = algorithms[ARGV[arg]]
  local limit = alg.limit(now, ARGV, arg + 2)
  arg = arg + 2 + tonumber(ARGV[arg + 1])
  local last = key + tonumber(ARGV[arg])
  local plain = key + tonumber(ARGV[arg + 1])
  arg = arg + 2
  for i = key + 1, last do
    local a, b, old = 0, 0, false
    if values[i] and #values[i] <= alg.widest then -- a pattern on a longer one could take for ever
      a, b, old = alg.open(limit, values[i])
    end
    n = n + 1
    result[n] = a
    if alg.width == 2 then
      n = n + 1
      result[n] = b
    end
    if i <= plain then
      if alg.room(limit, a, b, 1) >= 1 then
        a, b = alg.take(limit, a, b, 1)
        dirty[i] = true
      else
        dirty[i] = old
      end
    end
    algs[i], limits[i], as[i], bs[i], stale[i] = alg, limit, a, b, old
  end
  key = last
end

while ARGV[arg] do
  local times, first = tonumber(ARGV[arg]), arg + 2
  arg = first + 2 * tonumber(ARGV[arg + 1])
  for i = first, arg - 1, 2 do -- how often do all of its buckets have the tokens?
    local k, cost = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    if cost and cost > 0 then
      times = math.min(times, algs[k].room(limits[k], as[k], bs[k], cost))
      dirty[k] = dirty[k] or stale[k]
    end
  end
  for i = first, arg - 1, 2 do
    local k, cost = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local a, b = 0, 0
    if cost and cost > 0 then
      a, b = algs[k].take(limits[k], as[k], bs[k], times * cost)
    elseif cost then
      a, b = algs[k].give(limits[k], as[k], bs[k], times * -cost)
    end
    if a ~= as[k] or b ~= bs[k] or not cost then -- what this limit cannot read is gone too
      as[k], bs[k], dirty[k] = a, b, true
    end
  end
end

for i = 1, #KEYS do
  if dirty[i] then
    if as[i] == 0 and bs[i] == 0 then
      redis.call('DEL', KEYS[i])
    else
      local value, untilfull = algs[i].value(limits[i], as[i], bs[i])
      redis.call('SET', KEYS[i], value, 'PX', format('%.0f', ceil(untilfull, 1000) + SLACK))
    end
  end
end

return result
