// Package limiter decides: may this key do this now?
//
// It is the domain of the project and knows neither NATS nor Redis nor HTTP;
// it imports the standard library only. The words it uses:
//
//   - a key says who is limited: dot-separated tokens, such as user.42;
//   - a [Limit] is a named rule, Rate tokens per Interval with a Burst, as a
//     person states it; compiled into a [Rule] it is integers;
//   - a bucket is what one key has under one limit. It starts full, gives
//     tokens until it is empty, and refills by the clock. It is stored as the
//     one number that says everything, the time at which it will be full
//     again ([Mark]); a bucket nobody stored is full;
//   - a [Demand] asks one bucket for tokens; a [Check] is one or more demands
//     that are granted together or not at all;
//   - a [Result] is the answer. A denial is an answer, never an error: an
//     error says that no decision was made;
//   - a [Store] keeps the buckets and decides whole slices of checks. The
//     packages memstore and redisstore are stores, failover makes one store
//     of two, denycache remembers what one denied, and limitertest is the contract that each of them signs.
//
// # Algorithms
//
// [TokenBucket] is the default; [LeakyBucket] admits the same and says how long
// to wait, so that requests are evenly apart; [SlidingWindow] and [FixedWindow]
// count in windows of time, the latter of a calendar too. Each is a pure step
// in a file of its own, with a twin in package lua.
//
// # Arithmetic
//
// Everything is integers of at most 2^53, so that Go and the Lua script in Redis
// (whose numbers are doubles) decide alike to the last token. Of a token
// bucket, with P the interval in ticks, L the rate and g = gcd(P, L), a token
// is worth p = P/g units and one tick refills l = L/g units; the capacity is
// Burst*p. What a bucket owes, its debt, is
//
//	debt = clamp((full_at - now)*l + frac, 0, capacity)
//
// A demand of c tokens is admitted when debt + c*p <= capacity, and then adds
// c*p to the debt. There is no ticker and no floating point, so nothing drifts.
//
// A bucket that is further from full than its limit allows, because the clock
// jumped back or the limit was changed, counts as empty; the next check that
// takes writes it down as that, even if it is denied, and from then on it
// refills at its rate. So RetryAfter stays true, no token is minted, and a
// lower limit holds at once.
//
// A tick is a microsecond. A limit whose capacity does not fit is counted in
// milliseconds, then in seconds, and refused when that does not fit either.
package limiter
