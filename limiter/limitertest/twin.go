package limitertest

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

// twinTraces numbers the traces of a process, so that each has keys of its own.
var twinTraces atomic.Int64

// Twin puts random traces of checks to two stores, at the same times, and
// fails when an answer differs in any field but its Source. Limits of every
// size, changes of limits, several demands in a check, refunds, resets and
// batches that name a bucket many times are all in it.
//
// How many traces there are is set by the flag -rapid.checks.
func Twin(t *testing.T, a, b TimedStore) {
	rapid.Check(t, func(t *rapid.T) {
		trace := twinTraces.Add(1)
		rules := []*limiter.Rule{drawRule(t)}
		for range rapid.IntRange(0, 3).Draw(t, "more rules") {
			if rapid.Bool().Draw(t, "related") {
				rules = append(rules, drawChange(t, rules[0]))
			} else {
				rules = append(rules, drawRule(t))
			}
		}
		now := Epoch.Add(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "start")) * time.Microsecond)
		var wait time.Duration // the last retry_after, which is where mistakes show
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			now = now.Add(drawStep(t, now, wait, rules))
			checks := make([]limiter.Check, rapid.IntRange(1, 12).Draw(t, "checks"))
			for i := range checks {
				checks[i] = drawCheck(t, trace, rules, now)
			}
			for key := range twinKeys { // and look at what they left, through the eyes of every limit
				for _, rule := range rules {
					checks = append(checks, limiter.Check{Demands: []limiter.Demand{{Key: twinKey(trace, key), Rule: rule}}})
				}
			}
			want, got := make([]limiter.Result, len(checks)), make([]limiter.Result, len(checks))
			if err := a.TakeAt(t.Context(), now, checks, want); err != nil {
				t.Fatalf("first store: %v", err)
			}
			if err := b.TakeAt(t.Context(), now, checks, got); err != nil {
				t.Fatalf("second store: %v", err)
			}
			for i := range checks {
				want[i].Source, got[i].Source = limiter.SourceNone, limiter.SourceNone
				if got[i].InTurn { // then it says so, and nothing of one moment
					want[i].InTurn, want[i].States = true, got[i].States[:0]
				}
				if !reflect.DeepEqual(want[i], got[i]) {
					t.Fatalf("check %d of %d at %s (%+v):\n first store %+v\nsecond store %+v", i, len(checks), now, describe(checks[i]), want[i], got[i])
				}
				if w := want[i].RetryAfter(); w > 0 {
					wait = w
				}
			}
		}
	})
}

// twinKeys is how many keys a trace has.
const twinKeys = 3

func twinKey(trace int64, i int) string { return fmt.Sprintf("%d.%d", trace, i) }

// drawRule draws a limit that compiles.
func drawRule(t *rapid.T) *limiter.Rule {
	interval := rapid.OneOf(
		rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, limiter.MinInterval, limiter.MaxInterval}),
		rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(1000, limiter.MaxInterval.Microseconds()).Draw(t, "us")) * time.Microsecond
		}),
	)
	count := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 1e6), rapid.Int64Range(1, limiter.MaxCount))
	for {
		l := limiter.Limit{
			Name:      rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"),
			Algorithm: rapid.SampledFrom([]string{limiter.TokenBucket, limiter.TokenBucket, limiter.LeakyBucket, limiter.SlidingWindow, limiter.FixedWindow}).Draw(t, "algorithm"),
			Rate:      count.Draw(t, "rate"),
			Interval:  interval.Draw(t, "interval"),
		}
		switch l.Algorithm {
		case limiter.TokenBucket, limiter.LeakyBucket:
			l.Burst = count.Draw(t, "burst")
		case limiter.FixedWindow:
			if rapid.Bool().Draw(t, "calendar") {
				l.Interval = 0
				l.Calendar = limiter.Calendar{
					Period: rapid.SampledFrom([]string{"minute", "hour", "day", "week", "month", "year"}).Draw(t, "period"),
					Zone:   rapid.SampledFrom([]string{"", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone"),
				}
			}
		}
		if r, err := l.Compile(); err == nil {
			return r
		}
	}
}

// drawChange draws what a limit may be changed to while its buckets are in use.
func drawChange(t *rapid.T, r *limiter.Rule) *limiter.Rule {
	l := r.Limit()
	count := func(n int64, what string) int64 {
		return min(max(1, rapid.SampledFrom([]int64{n, n / 2, n - 1, n + 1, 2 * n, 1}).Draw(t, what)), limiter.MaxCount)
	}
	if same := l.Burst == l.Rate; same {
		l.Rate, l.Burst = count(l.Rate, "rate"), 0
	} else {
		l.Rate, l.Burst = count(l.Rate, "rate"), count(l.Burst, "burst")
	}
	if l.Interval > 0 {
		l.Interval = rapid.SampledFrom([]time.Duration{l.Interval, 2 * l.Interval, l.Interval + time.Millisecond}).Draw(t, "interval")
	}
	changed, err := l.Compile()
	if err != nil {
		return r
	}
	return changed
}

// drawStep draws how much time passes: none, a little, about the last
// retry_after, up to about the end of a window, or much.
func drawStep(t *rapid.T, now time.Time, wait time.Duration, rules []*limiter.Rule) time.Duration {
	switch rapid.IntRange(0, 5).Draw(t, "step") {
	case 0:
		return 0
	case 1:
		return time.Duration(rapid.Int64Range(1, 3000).Draw(t, "us")) * time.Microsecond
	case 2:
		// Not past what the clock of Redis can say.
		return max(0, min(wait, 1000*time.Hour)+time.Duration(rapid.Int64Range(-2, 2).Draw(t, "off"))*time.Microsecond)
	case 3:
		length := max(1, rapid.SampledFrom(rules).Draw(t, "rule").Limit().Interval.Microseconds())
		left := min(length-now.UnixMicro()%length, 1e11)
		return time.Duration(max(0, left+rapid.Int64Range(-2, 2).Draw(t, "off"))) * time.Microsecond
	case 4:
		return time.Duration(rapid.Int64Range(1, 5e6).Draw(t, "us")) * time.Microsecond
	}
	return time.Duration(rapid.Int64Range(1, 1e10).Draw(t, "us")) * time.Microsecond
}

func drawCheck(t *rapid.T, trace int64, rules []*limiter.Rule, now time.Time) limiter.Check {
	for {
		c := limiter.Check{Op: rapid.SampledFrom([]limiter.Op{
			limiter.Take, limiter.Take, limiter.Take, limiter.Take, limiter.Take, limiter.Refund, limiter.Reset, limiter.Look, limiter.Undo,
		}).Draw(t, "op")}
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "demands") {
			rule := rapid.SampledFrom(rules).Draw(t, "rule")
			burst := rule.Limit().Burst
			ago := rapid.SampledFrom([]time.Duration{0, 0, time.Microsecond, time.Millisecond, time.Second, time.Hour, -time.Second}).Draw(t, "ago")
			c.Demands = append(c.Demands, limiter.Demand{
				Key:  twinKey(trace, rapid.IntRange(0, twinKeys-1).Draw(t, "key")),
				Rule: rule,
				Cost: rapid.OneOf(
					rapid.Just(min(1, burst)), rapid.Int64Range(0, min(5, burst)), rapid.Int64Range(0, burst), rapid.Just(burst),
				).Draw(t, "cost"),
				Taken: now.Add(-ago).UnixMicro(),
			})
		}
		if c.Validate() == nil {
			return c
		}
	}
}

func describe(c limiter.Check) string {
	s := fmt.Sprintf("op %d:", c.Op)
	for _, d := range c.Demands {
		s += fmt.Sprintf(" %q takes %d of %s (%s)", d.Key, d.Cost, d.Rule.Limit(), d.Rule.Name())
	}
	return s
}
