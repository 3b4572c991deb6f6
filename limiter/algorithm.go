package limiter

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// The algorithms. Adding one takes a file here with its step, a file in
// package lua with its twin, and a line in this table; lua/README.md says how.
var algorithms = map[string]func(Limit) (algorithm, error){
	TokenBucket:   newTokenBucket,
	LeakyBucket:   newLeakyBucket,
	SlidingWindow: newSlidingWindow,
	FixedWindow:   newFixedWindow,
}

// algorithm is one way in which tokens come back, compiled for one limit. Its
// methods are pure: time goes in, nothing is kept. Costs are in tokens, times
// in microseconds since the Unix epoch.
type algorithm interface {
	// open returns what a bucket with this mark is like at now. It reports
	// too if the mark says more than it can mean, because the limit or the
	// clock was changed: the next check that takes then writes it anew, even
	// if it is denied, so that the bucket recovers.
	open(m Mark, now int64) (s State, stale bool)

	// mark is the inverse of open, of a bucket that is not full.
	mark(s State, now int64) Mark

	// has reports whether the bucket has that many tokens.
	has(s State, cost, now int64) bool

	// take takes tokens that the bucket has.
	take(s State, cost int64) State

	// give gives tokens back, at most until the bucket is full.
	give(s State, cost int64) State

	// undo gives tokens back that were taken at the time taken, less what has
	// flowed in since. The bucket never has more than if they had not been
	// taken, however many others took and gave back in between.
	undo(s State, cost, taken, now int64) State

	// stamp is what the script needs to know of the time taken for that.
	stamp(taken int64) int64

	// level describes the bucket to somebody who asks for cost tokens.
	level(s State, cost, now int64) Level

	// delay is how long to wait before using tokens that are taken now.
	delay(s State, now int64) time.Duration

	// capacity is how many tokens a full bucket has, and window how long an
	// empty one takes to fill.
	capacity() int64
	window() time.Duration

	// width is how many numbers of a State the algorithm uses.
	width() int

	// args are the numbers with which the script in Redis does the same.
	args(now int64) []int64
}

// State is what a bucket is like at one moment, in numbers whose meaning is
// the algorithm's. The zero State is a full bucket, whatever the algorithm.
type State [2]int64

// Full reports whether the bucket is full.
func (s State) Full() bool { return s == State{} }

// Mark is the stored form of a State, which says how the bucket goes on from
// there. The zero Mark is a full bucket.
type Mark struct {
	// Until is when the bucket will be full, in microseconds since the Unix
	// epoch, rounded up. From then on the mark says nothing.
	Until int64

	form form // whose the rest is

	at   int64
	more [2]int64
	tick int64 // microseconds
}

// form says which algorithms understand a mark. One that does not takes the
// bucket for full: who changes the algorithm of a limit begins anew.
type form uint8

const (
	formBucket form = iota + 1
	formSliding
	formFixed
)

// Open returns what a bucket with this mark is like at now, in microseconds
// since the Unix epoch. Stale marks should be written anew by a check that
// takes, even if it is denied: their limit or the clock was changed.
func (r *Rule) Open(m Mark, now int64) (s State, stale bool) {
	if m.Until <= now {
		return State{}, false
	}
	return r.alg.open(m, now)
}

// Mark is the inverse of Open.
func (r *Rule) Mark(s State, now int64) Mark {
	if s.Full() {
		return Mark{}
	}
	return r.alg.mark(s, now)
}

// Args returns the numbers with which the script of the rule's algorithm
// decides at about the given time.
func (r *Rule) Args(now time.Time) []int64 { return r.alg.args(now.UnixMicro()) }

// Stamp returns what the script needs to know for an [Undo] of what was taken
// at that time.
func (r *Rule) Stamp(taken int64) int64 { return r.alg.stamp(taken) }

// Width returns how many numbers of a State the rule's algorithm uses; the
// others are 0.
func (r *Rule) Width() int { return r.alg.width() }

// Window returns how long an empty bucket takes to fill, rounded up. For a
// calendar it is the longest it can take.
func (r *Rule) Window() time.Duration { return r.alg.window() }

// compileAlgorithm picks the algorithm of a limit.
func compileAlgorithm(l Limit) (algorithm, error) {
	compile, ok := algorithms[l.Algorithm]
	if !ok {
		return nil, fmt.Errorf("%w: algorithm %q must be one of %s", ErrInvalidLimit, l.Algorithm, strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
	}
	return compile(l)
}

// noCalendar refuses a calendar for algorithms that have no use for one.
func (l Limit) noCalendar() error {
	if l.Calendar != (Calendar{}) {
		return fmt.Errorf("%w: %s follows no calendar; state an interval, or use %s", ErrInvalidLimit, l.Algorithm, FixedWindow)
	}
	return nil
}

// noBurst refuses a burst that is not the rate, for algorithms that count to
// the rate.
func (l Limit) noBurst() error {
	if l.Burst != l.Rate {
		return fmt.Errorf("%w: burst %d must be the rate, or left out: %s admits up to the rate in a window", ErrInvalidLimit, l.Burst, l.Algorithm)
	}
	return nil
}

// fitTicks tries ticks of a microsecond, a millisecond and a second, until fit
// reports that a limit can be counted in them exactly.
func fitTicks(l Limit, fit func(tick int64) bool) error {
	for _, tick := range []int64{1, 1e3, 1e6} {
		if fit(tick) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s needs a capacity past 2^53 units even when counted in seconds, or more than 292 years to fill; use a smaller burst, or a rate that divides the interval", ErrNotRepresentable, l)
}

// mul multiplies two non-negative numbers and reports whether the product is
// at most MaxCount.
func mul(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo <= MaxCount
}

// ceil divides and rounds up; a must not be negative.
func ceil(a, b int64) int64 {
	if a == 0 {
		return 0
	}
	return (a-1)/b + 1
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
