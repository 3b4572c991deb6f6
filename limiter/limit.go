package limiter

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Bounds of a limit. They are far from what arithmetic can hold and close to
// what somebody could mean; outside them a typing error is more likely.
const (
	// MinInterval is the shortest interval of a limit.
	MinInterval = time.Millisecond

	// MaxInterval is the longest interval of a limit: a leap year.
	MaxInterval = 366 * 24 * time.Hour

	// MaxCount bounds Rate, Burst and every cost. It is 2^53, the last
	// integer up to which a double is exact.
	MaxCount = 1 << 53

	// MaxNameLength bounds Limit.Name, in bytes.
	MaxNameLength = 64
)

// Errors of a limit that cannot be used. The message of the error that wraps
// them names the field, its value and what is allowed.
var (
	// ErrInvalidLimit is returned when a field of a Limit is out of bounds.
	ErrInvalidLimit = errors.New("invalid limit")

	// ErrNotRepresentable is returned when each field of a Limit is in bounds
	// but its capacity cannot be counted exactly, not even in seconds, or
	// takes more than 292 years to fill.
	ErrNotRepresentable = errors.New("limit not representable")
)

// Limit is a rule as a person states it: Rate tokens per Interval, and at
// most Burst at once.
type Limit struct {
	// Name tells the limits of one key apart, in the store and in replies:
	// 1 to 64 bytes of A-Z a-z 0-9 _ and -. Empty means "default".
	Name string

	// Rate is how many tokens flow in per Interval, at least 1.
	Rate int64

	// Interval is between MinInterval and MaxInterval, in whole microseconds.
	Interval time.Duration

	// Burst is the capacity: how many tokens a full bucket holds. 0 means Rate.
	Burst int64

	// Algorithm is how tokens come back: TokenBucket, which empty means as well.
	Algorithm string

	// Calendar takes the place of Interval for algorithms that follow one.
	// TokenBucket does not.
	Calendar Calendar
}

// TokenBucket is the default algorithm: tokens flow in evenly.
const TokenBucket = "token_bucket"

// String writes the limit as [ParseLimit] reads it: "10/s burst 100".
func (l Limit) String() string {
	interval := l.Interval.String()
	for _, unit := range units {
		if l.Interval == unit.length {
			interval = unit.name
		}
	}
	if l.Burst == 0 || l.Burst == l.Rate {
		return fmt.Sprintf("%d/%s", l.Rate, interval)
	}
	return fmt.Sprintf("%d/%s burst %d", l.Rate, interval, l.Burst)
}

// units are the intervals that have a name.
var units = []struct {
	name   string
	length time.Duration
}{
	{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour},
}

// Rule is a compiled [Limit]: valid, with its defaults filled in, and turned
// into integers. It is immutable and safe for concurrent use. Two rules of
// the same name over the same key share a bucket.
type Rule struct {
	limit Limit

	tick     int64 // microseconds
	token    int64 // units that one token is worth (p)
	refill   int64 // units that flow in per tick (l)
	capacity int64 // units that a full bucket holds (Burst*p)
}

// Compile checks the limit and prepares it for deciding. The error wraps
// ErrInvalidLimit or ErrNotRepresentable.
func (l Limit) Compile() (*Rule, error) {
	if l.Name == "" {
		l.Name = "default"
	}
	if l.Burst == 0 {
		l.Burst = l.Rate
	}
	if l.Algorithm == "" {
		l.Algorithm = TokenBucket
	}
	switch {
	case l.Algorithm != TokenBucket:
		return nil, fmt.Errorf("%w: algorithm %q is not one of %s", ErrInvalidLimit, l.Algorithm, TokenBucket)
	case l.Calendar != Calendar{}:
		return nil, fmt.Errorf("%w: %s has no calendar; state an interval", ErrInvalidLimit, l.Algorithm)
	case !validName(l.Name):
		return nil, fmt.Errorf("%w: name %q must be 1 to %d of A-Z a-z 0-9 _ and -", ErrInvalidLimit, l.Name, MaxNameLength)
	case l.Rate < 1 || l.Rate > MaxCount:
		return nil, fmt.Errorf("%w: rate %d must be between 1 and %d", ErrInvalidLimit, l.Rate, int64(MaxCount))
	case l.Interval < MinInterval || l.Interval > MaxInterval:
		return nil, fmt.Errorf("%w: interval %s must be between %s and %s", ErrInvalidLimit, l.Interval, MinInterval, MaxInterval)
	case l.Interval%time.Microsecond != 0:
		return nil, fmt.Errorf("%w: interval %s must be in whole microseconds", ErrInvalidLimit, l.Interval)
	case l.Burst < 1 || l.Burst > MaxCount:
		return nil, fmt.Errorf("%w: burst %d must be between 1 and %d", ErrInvalidLimit, l.Burst, int64(MaxCount))
	}
	for _, tick := range []int64{1, 1e3, 1e6} {
		if r := (&Rule{limit: l, tick: tick}); r.fit() {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: %s needs a capacity past 2^53 units even when counted in seconds, or more than 292 years to fill; use a smaller burst, or a rate that divides the interval", ErrNotRepresentable, l)
}

// fit computes the integers of a rule whose limit and tick are set, and
// reports whether they stay exact.
func (r *Rule) fit() bool {
	// One tick brings rate*tick/interval tokens, as a reduced fraction.
	interval := r.limit.Interval.Microseconds()
	flow, ok := mul(r.limit.Rate, r.tick)
	if !ok {
		return false
	}
	g := gcd(interval, flow)
	r.token, r.refill = interval/g, flow/g
	r.capacity, ok = mul(r.limit.Burst, r.token)
	// The time to full is bounded as well. The moment at which the bucket is
	// full again must be exact: 2^52 ticks leave room for the clock (2^52 us
	// is the year 2112). And it must fit into a Duration, 292 years.
	ticks := r.capacity / r.refill
	return ok && ticks < 1<<52 && ticks < math.MaxInt64/int64(time.Microsecond)/r.tick
}

// Limit returns the limit with its defaults filled in.
func (r *Rule) Limit() Limit { return r.limit }

// Name returns the name of the limit.
func (r *Rule) Name() string { return r.limit.Name }

// Window returns how long an empty bucket takes to fill, rounded up to a
// tick, which is a microsecond for all but very large limits.
func (r *Rule) Window() time.Duration { return r.until(r.capacity, 0) }

// Units returns the integers that the script in Redis decides with: what one
// token is worth, what flows in per tick, what a full bucket holds, and the
// tick in microseconds.
func (r *Rule) Units() (token, refill, capacity, tick int64) {
	return r.token, r.refill, r.capacity, r.tick
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxNameLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// mul multiplies two non-negative numbers and reports whether the product is
// at most MaxCount.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo <= MaxCount
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
