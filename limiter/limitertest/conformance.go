// Package limitertest is the contract that every limiter.Store signs, and
// tools to test what is built on one.
//
//   - [Run] checks that a store behaves as limiter.Store promises;
//   - [Twin] puts the same random questions to two stores and expects the same
//     answers, field by field;
//   - [Failing], [Slow] and [Counting] are stores to test decorators with.
package limitertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// A TimedStore is a store that can be told the time.
type TimedStore interface {
	limiter.Store
	TakeAt(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error
}

// Epoch is the time at which the scripts below begin. It is not a multiple of
// anything, so that a store that counts in seconds cannot pass by luck.
var Epoch = time.UnixMicro(1_763_712_000_123_457)

// MustCompile compiles a limit or fails the test.
func MustCompile(tb testing.TB, l limiter.Limit) *limiter.Rule {
	tb.Helper()
	r, err := l.Compile()
	if err != nil {
		tb.Fatalf("Compile(%s): %v", l, err)
	}
	return r
}

// Run checks that the stores which open returns keep the contract of
// limiter.Store. Each call of open must return a store without buckets.
func Run(t *testing.T, open func(t *testing.T) TimedStore) {
	RunSingle(t, open)
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, open(t)) })
}

// RunSingle is Run for stores that keep the contract as long as they have one
// caller at a time, which no store for production may ask for.
func RunSingle(t *testing.T, open func(t *testing.T) TimedStore) {
	t.Run("Script", func(t *testing.T) { testScript(t, open) })
	t.Run("Spacing", func(t *testing.T) { testSpacing(t, open(t)) })
	t.Run("AllOrNothing", func(t *testing.T) { testAllOrNothing(t, open(t)) })
	t.Run("OneAfterTheOther", func(t *testing.T) { testOrder(t, open(t)) })
	t.Run("KeysDoNotMix", func(t *testing.T) { testKeysDoNotMix(t, open(t)) })
	t.Run("ChangedLimit", func(t *testing.T) { testChangedLimit(t, open(t)) })
	t.Run("ChangedTick", func(t *testing.T) { testChangedTick(t, open(t)) })
	t.Run("ChangedWindow", func(t *testing.T) { testChangedWindow(t, open(t)) })
	t.Run("Invalid", func(t *testing.T) { testInvalid(t, open(t)) })
	t.Run("RealClock", func(t *testing.T) { testRealClock(t, open(t)) })
	t.Run("WaitRetryAfter", func(t *testing.T) { testWaitRetryAfter(t, open(t)) })
}

func testAllOrNothing(t *testing.T, store TimedStore) {
	minute := MustCompile(t, limiter.Limit{Name: "minute", Rate: 60, Interval: time.Minute, Burst: 10})
	day := MustCompile(t, limiter.Limit{Name: "day", Rate: 15, Interval: 24 * time.Hour})
	both := func(cost int64) limiter.Check {
		return limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: minute, Cost: cost}, {Key: "k", Rule: day, Cost: cost}}}
	}
	for i, step := range []struct {
		cost          int64
		allowed       bool
		minute, day   int64
		binding       int
		retryAtLeast  time.Duration
		retryAtMost   time.Duration
		minuteAdmits  bool
		dayAdmits     bool
		secondsPassed int
	}{
		{cost: 8, allowed: true, minute: 2, day: 7, binding: 0, minuteAdmits: true, dayAdmits: true},
		{cost: 3, allowed: false, minute: 2, day: 7, binding: 0, retryAtLeast: time.Second, retryAtMost: time.Second, dayAdmits: true},
		{cost: 6, allowed: true, minute: 4, day: 1, binding: 1, minuteAdmits: true, dayAdmits: true, secondsPassed: 20},
		{cost: 2, allowed: false, minute: 4, day: 1, binding: 1, retryAtLeast: time.Hour, retryAtMost: 24 * time.Hour, minuteAdmits: true, secondsPassed: 20},
		{cost: 1, allowed: true, minute: 3, day: 0, binding: 1, minuteAdmits: true, dayAdmits: true, secondsPassed: 20},
	} {
		got := takeAt(t, store, Epoch.Add(time.Duration(step.secondsPassed)*time.Second), both(step.cost))[0]
		if got.Allowed != step.allowed || got.Binding() != step.binding || len(got.Levels) != 2 ||
			got.Levels[0].Remaining != step.minute || got.Levels[1].Remaining != step.day ||
			got.Levels[0].Admitted != step.minuteAdmits || got.Levels[1].Admitted != step.dayAdmits ||
			got.RetryAfter() < step.retryAtLeast || got.RetryAfter() > step.retryAtMost {
			t.Fatalf("step %d: got %+v, want %+v", i, got, step)
		}
	}
}

// testOrder decides a whole batch, in which checks of one bucket follow each
// other with different costs, peeks and refunds between them.
func testOrder(t *testing.T, store TimedStore) {
	rule := MustCompile(t, limiter.Limit{Rate: 10, Interval: time.Second})
	var checks []limiter.Check
	add := func(op limiter.Op, key string, cost int64) {
		checks = append(checks, limiter.Check{Op: op, Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: cost}}})
	}
	var want []string
	for _, s := range []struct {
		op   limiter.Op
		key  string
		cost int64
		want string
	}{
		{limiter.Take, "a", 4, "true 6"},
		{limiter.Take, "b", 1, "true 9"},
		{limiter.Take, "a", 4, "true 2"},
		{limiter.Take, "a", 4, "false 2"},
		{limiter.Take, "a", 0, "true 2"},
		{limiter.Take, "a", 1, "true 1"},
		{limiter.Refund, "a", 3, "true 4"},
		{limiter.Take, "a", 4, "true 0"},
		{limiter.Take, "a", 1, "false 0"},
		{limiter.Take, "b", 9, "true 0"},
		{limiter.Reset, "a", 0, "true 10"},
		{limiter.Take, "a", 10, "true 0"},
		{limiter.Take, "c", 0, "true 10"},
	} {
		add(s.op, s.key, s.cost)
		want = append(want, s.want)
	}
	for i, res := range takeAt(t, store, Epoch, checks...) {
		if got := fmt.Sprint(res.Allowed, res.Levels[0].Remaining); got != want[i] {
			t.Errorf("check %d: got %q, want %q", i, got, want[i])
		}
	}
}

func testKeysDoNotMix(t *testing.T, store TimedStore) {
	names := []string{"a", "b", "a-b", "default"}
	keys := []string{"a", "b", "a.b", "a.b.default", "a:b", "a}:b", "{a}", "", "A", "a%2Eb", "a-b", "a\x00b"}
	var checks []limiter.Check
	for _, name := range names {
		rule := MustCompile(t, limiter.Limit{Name: name, Rate: 1, Interval: time.Hour})
		for _, key := range keys {
			checks = append(checks, limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: 1}}})
		}
	}
	for round, want := range []bool{true, false} {
		for i, res := range takeAt(t, store, Epoch, checks...) {
			if d := checks[i].Demands[0]; res.Allowed != want {
				t.Errorf("round %d: key %q, limit %q: allowed %t, want %t", round, d.Key, d.Rule.Name(), res.Allowed, want)
			}
		}
	}
}

func testInvalid(t *testing.T, store TimedStore) {
	rule := MustCompile(t, limiter.Limit{Rate: 5, Interval: time.Second})
	ok := limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}
	for _, tt := range []struct {
		name  string
		check limiter.Check
		want  error
	}{
		{"no demands", limiter.Check{}, limiter.ErrInvalidCheck},
		{"17 demands", limiter.Check{Demands: make([]limiter.Demand, 17)}, limiter.ErrInvalidCheck},
		{"no rule", limiter.Check{Demands: []limiter.Demand{{Key: "k", Cost: 1}}}, limiter.ErrInvalidCheck},
		{"negative cost", limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: -1}}}, limiter.ErrInvalidCheck},
		{"negative refund", limiter.Check{Op: limiter.Refund, Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: -1}}}, limiter.ErrInvalidCheck},
		{"unknown op", limiter.Check{Op: 99, Demands: ok.Demands}, limiter.ErrInvalidCheck},
		{"one bucket twice", limiter.Check{Demands: []limiter.Demand{ok.Demands[0], ok.Demands[0]}}, limiter.ErrInvalidCheck},
		{"cost 6 of 5", limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 6}}}, limiter.ErrCostExceedsBurst},
		{"cost 2^62", limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1 << 62}}}, limiter.ErrCostExceedsBurst},
	} {
		checks := []limiter.Check{ok, tt.check}
		results := make([]limiter.Result, 2)
		results[0].Source = limiter.SourceRedis // must be cleared
		if err := store.TakeAt(t.Context(), Epoch, checks, results); !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		}
		if results[0].Source != limiter.SourceNone {
			t.Errorf("%s: the valid check of the batch was decided", tt.name)
		}
	}
	if got := takeAt(t, store, Epoch, limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule}}})[0]; got.Levels[0].Remaining != 5 {
		t.Errorf("after refused batches %d of 5 tokens are left", got.Levels[0].Remaining)
	}
}

func testRealClock(t *testing.T, store TimedStore) {
	rule := MustCompile(t, limiter.Limit{Rate: 1, Interval: 50 * time.Millisecond})
	check := []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}}
	results := make([]limiter.Result, 1)
	take := func() limiter.Result {
		t.Helper()
		if err := store.Take(t.Context(), check, results); err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	if got := take(); !got.Allowed || got.Source == limiter.SourceNone {
		t.Fatalf("first: got %+v, want allowed", got)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := take()
		if got.Allowed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no token came back within 10 s")
		}
		if wait := got.RetryAfter(); wait <= 0 || wait > 50*time.Millisecond {
			t.Fatalf("denied with retry after %s, want more than 0 and at most 50 ms", wait)
		} else {
			time.Sleep(wait)
		}
	}
}

// testConcurrent asks for one bucket from many goroutines at one moment:
// exactly the burst is granted.
func testConcurrent(t *testing.T, store TimedStore) {
	const callers, each, burst = 16, 50, 100
	rule := MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour, Burst: burst})
	granted := make(chan int)
	for range callers {
		go func() {
			n := 0
			check := []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}}
			results := make([]limiter.Result, 1)
			for range each {
				if err := store.TakeAt(t.Context(), Epoch, check, results); err != nil {
					t.Error(err)
				}
				if results[0].Allowed {
					n++
				}
			}
			granted <- n
		}()
	}
	total := 0
	for range callers {
		total += <-granted
	}
	if total != burst {
		t.Errorf("%d of %d checks were granted, want %d", total, callers*each, burst)
	}
}

// testWaitRetryAfter holds retry_after to its word: wait that long and the
// check passes, a microsecond less and it does not.
func testWaitRetryAfter(t *testing.T, store TimedStore) {
	for i, l := range []limiter.Limit{
		{Rate: 1, Interval: time.Second, Burst: 5},
		{Rate: 7, Interval: time.Minute, Burst: 3},
		{Rate: 1_000_003, Interval: time.Second, Burst: 2_000_000},
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 10_000_000},
		{Algorithm: limiter.LeakyBucket, Rate: 7, Interval: time.Minute, Burst: 3},
		{Algorithm: limiter.SlidingWindow, Rate: 7, Interval: time.Minute},
		{Algorithm: limiter.SlidingWindow, Rate: 1_000_003, Interval: 24 * time.Hour},
		{Algorithm: limiter.FixedWindow, Rate: 7, Interval: time.Minute},
		{Algorithm: limiter.FixedWindow, Rate: 7, Calendar: limiter.Calendar{Period: "week", Zone: "America/New_York"}},
	} {
		rule := MustCompile(t, l)
		take := func(now time.Time, cost int64) limiter.Result {
			return takeAt(t, store, now, limiter.Check{Demands: []limiter.Demand{{Key: fmt.Sprint("k", i), Rule: rule, Cost: cost}}})[0]
		}
		now := Epoch
		take(now, rule.Limit().Burst)
		for _, cost := range []int64{1, 2, rule.Limit().Burst} {
			res := take(now, cost)
			wait := res.RetryAfter()
			if res.Allowed || wait <= 0 {
				t.Fatalf("%s: cost %d of an empty bucket: got %+v", l, cost, res)
			}
			if early := take(now.Add(wait-time.Microsecond), cost); early.Allowed {
				t.Errorf("%s: cost %d passed a microsecond before its retry_after of %s", l, cost, wait)
			}
			now = now.Add(wait)
			late := take(now, cost)
			if !late.Allowed {
				t.Errorf("%s: cost %d did not pass after its retry_after of %s", l, cost, wait)
			}
			take(now, late.Levels[0].Remaining)
		}
	}
}

// takeAt decides checks or fails the test.
func takeAt(tb testing.TB, store TimedStore, now time.Time, checks ...limiter.Check) []limiter.Result {
	tb.Helper()
	results := make([]limiter.Result, len(checks))
	if err := store.TakeAt(tb.Context(), now, checks, results); err != nil {
		tb.Fatalf("TakeAt: %v", err)
	}
	for i := range results {
		if results[i].Source == limiter.SourceNone {
			tb.Fatalf("check %d: not decided, without an error", i)
		}
	}
	return results
}
