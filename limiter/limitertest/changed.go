package limitertest

import (
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// testChangedLimit changes the limit of a bucket that is in use: the time to
// full stays, at most that of the new capacity.
func testChangedLimit(t *testing.T, store TimedStore) {
	slow := MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Second, Burst: 10})
	fast := MustCompile(t, limiter.Limit{Rate: 4, Interval: time.Second, Burst: 100})
	small := MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Second, Burst: 3})
	year := MustCompile(t, limiter.Limit{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200}) // in milliseconds
	for i, step := range []struct {
		rule      *limiter.Rule
		cost      int64
		allowed   bool
		remaining int64
		reset     time.Duration
	}{
		{slow, 6, true, 4, 6 * time.Second},
		{fast, 0, true, 76, 6 * time.Second},
		{small, 0, true, 0, 3 * time.Second},
		{small, 1, false, 0, 3 * time.Second},
		{slow, 0, true, 7, 3 * time.Second}, // the check that was denied found more than its limit can mean
		{year, 0, true, 199, 3 * time.Second},
	} {
		check := limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: step.rule, Cost: step.cost}}}
		got := takeAt(t, store, Epoch, check)[0]
		l := got.Levels[0]
		if step.rule == year { // rounded up to its tick
			l.ResetAfter = l.ResetAfter.Truncate(time.Second)
		}
		if got.Allowed != step.allowed || l.Remaining != step.remaining || l.ResetAfter != step.reset {
			t.Fatalf("step %d: got %+v, want %+v", i, got, step)
		}
	}
}

// testChangedTick looks at a bucket through the eyes of limits that count in
// other ticks and units, at the edges where a mistake in rounding shows.
func testChangedTick(t *testing.T, store TimedStore) {
	micros := MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Second, Burst: 5})
	seconds := MustCompile(t, limiter.Limit{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000})
	many := MustCompile(t, limiter.Limit{Rate: 1_000_003, Interval: time.Second, Burst: 2_000_000})
	few := MustCompile(t, limiter.Limit{Rate: 3, Interval: time.Second})
	for i, step := range []struct {
		at   time.Duration
		rule *limiter.Rule
		op   limiter.Op
		cost int64
		want limiter.Level
	}{
		{0, micros, limiter.Take, 1, limiter.Level{Admitted: true, Remaining: 4, ResetAfter: time.Second}},
		// Full since a moment ago stays full, whatever the tick.
		{time.Second, seconds, limiter.Take, 0, limiter.Level{Admitted: true, Remaining: 1_000_000_000}},
		{2 * time.Second, micros, limiter.Take, 2, limiter.Level{Admitted: true, Remaining: 3, ResetAfter: 2 * time.Second}},
		{3999999 * time.Microsecond, seconds, limiter.Take, 0, limiter.Level{Admitted: true, Remaining: 999_999_988, ResetAfter: 876544 * time.Microsecond}},
		{4000000 * time.Microsecond, seconds, limiter.Take, 0, limiter.Level{Admitted: true, Remaining: 1_000_000_000}},
		// As far from full as a limit allows, and a fraction more.
		{10 * time.Second, many, limiter.Take, 1_000_004, limiter.Level{Admitted: true, Remaining: 999_996, ResetAfter: 1000001 * time.Microsecond}},
		{10 * time.Second, few, limiter.Take, 1, limiter.Level{RetryAfter: 333334 * time.Microsecond, ResetAfter: time.Second}},
		{10*time.Second + 333334*time.Microsecond, few, limiter.Take, 1, limiter.Level{Admitted: true, Remaining: 0, ResetAfter: time.Second}},
		{10*time.Second + 333334*time.Microsecond, few, limiter.Refund, 1, limiter.Level{Admitted: true, Remaining: 1, ResetAfter: 666666 * time.Microsecond}},
		// A fraction of another size is at most what a tick brings.
		{20 * time.Second, many, limiter.Take, 500_002, limiter.Level{Admitted: true, Remaining: 1_499_998, ResetAfter: 500001 * time.Microsecond}},
		{20 * time.Second, few, limiter.Take, 0, limiter.Level{Admitted: true, Remaining: 1, ResetAfter: 500001 * time.Microsecond}},
		// Full at a whole second and a fraction of a microsecond.
		{30*time.Second + 376543*time.Microsecond, many, limiter.Take, 500_002, limiter.Level{Admitted: true, Remaining: 1_499_998, ResetAfter: 500001 * time.Microsecond}},
		{30*time.Second + 376543*time.Microsecond, seconds, limiter.Take, 0, limiter.Level{Admitted: true, Remaining: 999_999_976, ResetAfter: 1500000 * time.Microsecond}},
	} {
		check := limiter.Check{Op: step.op, Demands: []limiter.Demand{{Key: "k", Rule: step.rule, Cost: step.cost}}}
		if got := takeAt(t, store, Epoch.Add(step.at), check)[0]; got.Levels[0] != step.want {
			t.Errorf("step %d: got %+v, want %+v", i, got.Levels[0], step.want)
		}
	}
}

// testChangedWindow changes limits that count in windows, and the clock: what
// was admitted counts for the new window, and a denial makes it so for good.
func testChangedWindow(t *testing.T, store TimedStore) {
	window := func(algorithm string, rate int64, length time.Duration) *limiter.Rule {
		return MustCompile(t, limiter.Limit{Algorithm: algorithm, Rate: rate, Interval: length})
	}
	const s = time.Second
	ten, six := window(limiter.SlidingWindow, 10, 10*s), window(limiter.SlidingWindow, 6, 10*s)
	long := window(limiter.SlidingWindow, 10, 20*s)
	three, two := window(limiter.FixedWindow, 3, 10*s), window(limiter.FixedWindow, 2, 10*s)
	double := window(limiter.FixedWindow, 3, 20*s)
	for i, step := range []struct {
		at        time.Duration // after the window of Epoch began
		rule      *limiter.Rule
		op        limiter.Op
		cost      int64
		admitted  bool
		remaining int64
		retry     time.Duration
		reset     time.Duration
	}{
		{0, ten, limiter.Take, 10, true, 0, 0, 20 * s},
		{10 * s, ten, limiter.Take, 0, true, 0, 0, 10 * s},
		{15 * s, ten, limiter.Take, 3, true, 2, 0, 15 * s},
		{15 * s, ten, limiter.Refund, 3, true, 5, 0, 5 * s}, // the previous window still counts
		{15 * s, ten, limiter.Take, 5, true, 0, 0, 15 * s},
		{15 * s, six, limiter.Take, 0, true, 0, 0, 15 * s},      // a look is granted, even where nothing is free
		{15 * s, six, limiter.Take, 2, false, 0, 7 * s, 15 * s}, // 5 and a half of 6 are more than 6
		{15 * s, ten, limiter.Take, 0, true, 2, 0, 15 * s},
		{15 * s, long, limiter.Take, 1, false, 0, 7 * s, 25 * s},
		{22 * s, long, limiter.Take, 1, true, 0, 0, 38 * s},
		{5 * s, long, limiter.Take, 2, false, 1, 1 * s, 35 * s}, // the clock went back
		{25 * s, long, limiter.Take, 0, true, 9, 0, 15 * s},

		{30 * s, three, limiter.Take, 3, true, 0, 0, 10 * s}, // another algorithm begins anew
		{30 * s, two, limiter.Take, 1, false, 0, 10 * s, 10 * s},
		{30 * s, three, limiter.Take, 0, true, 1, 0, 10 * s},
		{35 * s, double, limiter.Take, 2, false, 1, 5 * s, 5 * s},
		{35 * s, three, limiter.Take, 0, true, 1, 0, 5 * s},
		{25 * s, double, limiter.Take, 2, false, 1, 15 * s, 15 * s}, // the clock went back
		{39 * s, double, limiter.Take, 0, true, 1, 0, 1 * s},
		{5 * s, three, limiter.Take, 2, false, 1, 5 * s, 5 * s}, // and further
		{12 * s, three, limiter.Take, 0, true, 3, 0, 0},
	} {
		check := limiter.Check{Op: step.op, Demands: []limiter.Demand{{Key: "k", Rule: step.rule, Cost: step.cost}}}
		now := Epoch.Truncate(20 * s).Add(step.at)
		want := limiter.Level{Admitted: step.admitted, Remaining: step.remaining, RetryAfter: step.retry, ResetAfter: step.reset}
		if got := takeAt(t, store, now, check)[0]; got.Levels[0] != want {
			t.Errorf("step %d: got %+v, want %+v", i, got.Levels[0], want)
		}
	}
}
