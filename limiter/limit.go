package limiter

import (
	"errors"
	"fmt"
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

	// Algorithm is how tokens come back: TokenBucket, which empty means as
	// well, LeakyBucket, SlidingWindow or FixedWindow.
	Algorithm string

	// Calendar takes the place of Interval, which is then 0, for FixedWindow.
	// The others follow no calendar.
	Calendar Calendar
}

// String writes the limit as [ParseLimit] reads it: "10/s burst 100".
func (l Limit) String() string {
	interval := l.Interval.String()
	if l.Calendar != (Calendar{}) {
		interval = l.Calendar.Period
	}
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
// into integers. It is immutable and safe for concurrent use.
//
// Two rules of the same name over the same key share a bucket, so that a limit
// can be changed while it is in use: who was denied under the old limit waits
// no longer than the new one has anybody wait. For that the bucket forgets
// what the new limit cannot hold; so do not use different limits of one name
// side by side, where the small one makes the large one forget.
type Rule struct {
	limit Limit
	alg   algorithm
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
	case !validName(l.Name):
		return nil, fmt.Errorf("%w: name %q must be 1 to %d of A-Z a-z 0-9 _ and -", ErrInvalidLimit, l.Name, MaxNameLength)
	case l.Rate < 1 || l.Rate > MaxCount:
		return nil, fmt.Errorf("%w: rate %d must be between 1 and %d", ErrInvalidLimit, l.Rate, int64(MaxCount))
	case l.Burst < 1 || l.Burst > MaxCount:
		return nil, fmt.Errorf("%w: burst %d must be between 1 and %d", ErrInvalidLimit, l.Burst, int64(MaxCount))
	case l.Calendar != (Calendar{}) && l.Interval != 0:
		return nil, fmt.Errorf("%w: interval %s and a calendar exclude each other", ErrInvalidLimit, l.Interval)
	case l.Calendar != (Calendar{}): // has its own length
	case l.Interval < MinInterval || l.Interval > MaxInterval:
		return nil, fmt.Errorf("%w: interval %s must be between %s and %s", ErrInvalidLimit, l.Interval, MinInterval, MaxInterval)
	case l.Interval%time.Microsecond != 0:
		return nil, fmt.Errorf("%w: interval %s must be in whole microseconds", ErrInvalidLimit, l.Interval)
	}
	alg, err := compileAlgorithm(l)
	if err != nil {
		return nil, err
	}
	return &Rule{limit: l, alg: alg}, nil
}

// Limit returns the limit with its defaults filled in.
func (r *Rule) Limit() Limit { return r.limit }

// Name returns the name of the limit.
func (r *Rule) Name() string { return r.limit.Name }

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
