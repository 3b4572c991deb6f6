package limiter_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

// drawAny draws a rule of any algorithm.
func drawAny(t *rapid.T) *limiter.Rule {
	for {
		l := drawLimit(t)
		l.Algorithm = rapid.SampledFrom([]string{limiter.TokenBucket, limiter.LeakyBucket, limiter.SlidingWindow, limiter.FixedWindow}).Draw(t, "algorithm")
		if l.Algorithm == limiter.SlidingWindow || l.Algorithm == limiter.FixedWindow {
			l.Burst = 0
		}
		if l.Algorithm == limiter.FixedWindow && rapid.Bool().Draw(t, "calendar") {
			l.Interval = 0
			l.Calendar = limiter.Calendar{
				Period: rapid.SampledFrom([]string{"minute", "hour", "day", "week", "month", "year"}).Draw(t, "period"),
				Zone:   rapid.SampledFrom([]string{"", "Europe/Berlin", "America/St_Johns"}).Draw(t, "zone"),
			}
		}
		if r, err := l.Compile(); err == nil {
			return r
		}
	}
}

// TestEveryAlgorithmKeepsItsWord, over random traces: what is left is within
// bounds, a denial and a look change nothing, retry_after is the shortest wait
// that helps, reset_after is when the bucket is full, and not before.
func TestEveryAlgorithmKeepsItsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{rule: drawAny(t)}
		l := c.rule.Limit()
		now := epoch + rapid.Int64Range(0, 1e13).Draw(t, "start")
		var retry time.Duration
		look := func(wait int64) limiter.Level {
			probe := *c
			return probe.ask(limiter.Take, 0, now+wait).Levels[0]
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now += drawWait(t, min(retry, 400*day))
			op := rapid.SampledFrom([]limiter.Op{limiter.Take, limiter.Take, limiter.Take, limiter.Refund}).Draw(t, "op")
			cost := drawCost(t, l.Burst)
			before := look(0)
			res := c.ask(op, cost, now)
			after := res.Levels[0]
			if after.Remaining < 0 || after.Remaining > l.Burst || after.Admitted != res.Allowed {
				t.Fatalf("%s: %+v", l, res)
			}
			if got := look(0); got.Remaining != after.Remaining || got.ResetAfter != after.ResetAfter {
				t.Fatalf("%s: said %+v, a look says %+v", l, after, got)
			}
			if us := after.ResetAfter.Microseconds(); us > 0 {
				if full, almost := look(us), look(us-1); full.Remaining != l.Burst || full.ResetAfter != 0 || almost.ResetAfter == 0 {
					t.Fatalf("%s: reset after %s: then %+v, a microsecond before %+v", l, after.ResetAfter, full, almost)
				}
			}
			if op != limiter.Take {
				if after.Remaining < before.Remaining {
					t.Fatalf("%s: a refund of %d left %d of %d", l, cost, after.Remaining, before.Remaining)
				}
				continue
			}
			if !res.Allowed || cost == 0 {
				if after.Remaining != before.Remaining || after.ResetAfter != before.ResetAfter {
					t.Fatalf("%s: a denial or a look of cost %d changed %+v to %+v", l, cost, before, after)
				}
			}
			if res.Allowed != (after.RetryAfter == 0) {
				t.Fatalf("%s: allowed %t with retry after %s", l, res.Allowed, after.RetryAfter)
			}
			if !res.Allowed {
				retry = after.RetryAfter
				us := retry.Microseconds()
				early, late := *c, *c
				if early.ask(limiter.Take, cost, now+us-1).Allowed || !late.ask(limiter.Take, cost, now+us).Allowed {
					t.Fatalf("%s: cost %d at %d, retry after %s is not the shortest wait that helps", l, cost, now, retry)
				}
			}
		}
	})
}

// TestWindowsOfTheClock: neither kind of window admits more than the rate from
// its beginning to its end.
func TestWindowsOfTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLimit(t)
		l.Algorithm = rapid.SampledFrom([]string{limiter.SlidingWindow, limiter.FixedWindow}).Draw(t, "algorithm")
		l.Burst = 0
		rule, err := l.Compile()
		if err != nil {
			return // not representable
		}
		c := &cell{rule: rule}
		length, now := l.Interval.Microseconds(), epoch
		admitted := map[int64]int64{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += rapid.OneOf(rapid.Int64Range(0, length/2), rapid.Int64Range(0, 2*length), rapid.Just(length-now%length)).Draw(t, "wait")
			cost := drawCost(t, l.Rate)
			if c.ask(limiter.Take, cost, now).Allowed {
				if admitted[now/length] += cost; admitted[now/length] > l.Rate {
					t.Fatalf("%s admitted %d in one window", rule.Limit(), admitted[now/length])
				}
			}
		}
	})
}
