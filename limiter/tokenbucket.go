package limiter

import (
	"math"
	"time"
)

// TokenBucket is the default algorithm: a bucket of Burst tokens, into which
// Rate tokens flow per Interval, evenly.
//
// Its state is the debt, in units: what the bucket lacks to be full. The mark
// is the time at which it is full.
const TokenBucket = "token_bucket"

// tokenBucket implements algorithm. See the package comment for its arithmetic.
type tokenBucket struct {
	tick   int64 // microseconds
	token  int64 // units that one token is worth (p)
	refill int64 // units that flow in per tick (l)
	size   int64 // units that a full bucket holds (Burst*p)
}

func newTokenBucket(l Limit) (algorithm, error) {
	if err := l.noCalendar(); err != nil {
		return nil, err
	}
	b := new(tokenBucket)
	return b, fitTicks(l, func(tick int64) bool { return b.fit(l, tick) })
}

// fit sets the integers of the bucket for a tick, and reports whether they
// stay exact.
func (b *tokenBucket) fit(l Limit, tick int64) bool {
	// One tick brings rate*tick/interval tokens, as a reduced fraction.
	interval := l.Interval.Microseconds()
	flow, ok := mul(l.Rate, tick)
	if !ok {
		return false
	}
	g := gcd(interval, flow)
	*b = tokenBucket{tick: tick, token: interval / g, refill: flow / g}
	b.size, ok = mul(l.Burst, b.token)
	// The time to full is bounded as well. The moment at which the bucket is
	// full again must be exact: 2^52 ticks leave room for the clock (2^52 us
	// is the year 2112). And it must fit into a Duration, 292 years.
	ticks := b.size / b.refill
	return ok && ticks < 1<<52 && ticks < math.MaxInt64/int64(time.Microsecond)/b.tick
}

func (b *tokenBucket) open(m Mark, now int64) (State, bool) {
	if m.form != formBucket {
		return State{}, false
	}
	at, frac := m.at, m.more[0]
	if m.tick != b.tick { // round up to ticks of ours
		at, frac = ceil(m.Until, b.tick), 0
	}
	ticks := at - now/b.tick
	if ticks < 0 {
		return State{}, false
	}
	if ticks > b.size/b.refill {
		return State{b.size}, true
	}
	debt, frac := ticks*b.refill, min(frac, b.refill)
	if frac > b.size-debt {
		return State{b.size}, true
	}
	return State{debt + frac}, false
}

func (b *tokenBucket) mark(s State, now int64) Mark {
	m := Mark{form: formBucket, at: now/b.tick + s[0]/b.refill, more: [2]int64{s[0] % b.refill}, tick: b.tick}
	m.Until = m.until()
	return m
}

func (b *tokenBucket) has(s State, cost, _ int64) bool { return cost*b.token <= b.size-s[0] }

func (b *tokenBucket) take(s State, cost int64) State { return State{s[0] + cost*b.token} }

func (b *tokenBucket) give(s State, cost int64) State {
	if cost >= b.capacity() {
		return State{}
	}
	return State{max(0, s[0]-cost*b.token)}
}

// undo keeps back what has flowed in since. A bucket that was full all the time
// but for this would have lost it.
func (b *tokenBucket) undo(s State, cost, taken, now int64) State {
	ticks := max(0, now/b.tick-b.stamp(taken))
	if ticks > b.size/b.refill {
		return s
	}
	return State{max(0, s[0]-max(0, cost*b.token-ticks*b.refill))}
}

func (b *tokenBucket) stamp(taken int64) int64 { return taken / b.tick }

func (b *tokenBucket) level(s State, cost, now int64) Level {
	free := b.size - s[0]
	l := Level{
		Admitted:   b.has(s, cost, now),
		Remaining:  free / b.token,
		ResetAfter: b.until(s[0], now),
	}
	if !l.Admitted {
		l.RetryAfter = b.until(cost*b.token-free, now)
	}
	return l
}

func (b *tokenBucket) delay(State, int64) time.Duration { return 0 }

func (b *tokenBucket) capacity() int64 { return b.size / b.token }

func (b *tokenBucket) window() time.Duration { return b.until(b.size, 0) }

func (b *tokenBucket) width() int { return 1 }

func (b *tokenBucket) args(int64) []int64 { return []int64{b.token, b.refill, b.size, b.tick} }

// until returns how long it takes from now until that many units have flowed
// in, rounded up to a microsecond. Refill arrives at the ticks of the clock,
// not at ticks counted from now.
func (b *tokenBucket) until(units, now int64) time.Duration {
	if units <= 0 {
		return 0
	}
	return time.Duration(ceil(units, b.refill)*b.tick-now%b.tick) * time.Microsecond
}
