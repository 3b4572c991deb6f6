package limiter_test

import (
	"context"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// big2 returns the product of its arguments.
func big2(factors ...int64) *big.Int {
	p := big.NewInt(1)
	for _, f := range factors {
		p.Mul(p, big.NewInt(f))
	}
	return p
}

// epoch is a moment in microseconds that is not a multiple of anything.
const epoch int64 = 1_763_712_000_123_457

// cell is one bucket, kept as a store keeps it.
type cell struct {
	rule *limiter.Rule
	mark limiter.Mark
}

// ask decides one demand at now and keeps what is left, unless peek is set.
func (c *cell) ask(op limiter.Op, cost, now int64) limiter.Result {
	state, stale := c.rule.Open(c.mark, now)
	states := []limiter.State{state}
	check := limiter.Check{Op: op, Demands: []limiter.Demand{{Rule: c.rule, Cost: cost}}}
	var res limiter.Result
	limiter.Decide(&check, states, now, &res)
	if states[0] != state || stale && check.Takes(0) {
		c.mark = c.rule.Mark(states[0], now)
	}
	return res
}

// drawWait draws a time to pass, often about the time to the next token.
func drawWait(t *rapid.T, retry time.Duration) int64 {
	return rapid.OneOf(
		rapid.Int64Range(0, 3),
		rapid.Int64Range(0, 5_000_000),
		rapid.Map(rapid.Int64Range(-2, 2), func(off int64) int64 { return max(0, min(retry, 10*366*day).Microseconds()+off) }),
		rapid.Int64Range(0, 1e11),
	).Draw(t, "wait")
}

func drawCost(t *rapid.T, burst int64) int64 {
	return rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(0, min(5, burst)), rapid.Int64Range(0, burst), rapid.Just(burst)).Draw(t, "cost")
}

// TestAgreesWithRationals puts the integers beside a bucket of rational
// numbers that knows nothing of units, marks and rounding: a level that grows
// by rate/interval and never passes the burst. Every field of every answer
// must be what the rationals say. This is "no starvation": what the level
// holds is granted, and what is granted the level holds.
func TestAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{rule: drawRule(t)}
		l := c.rule.Limit()
		_, _, _, tick := c.rule.Units()
		burst := new(big.Rat).SetInt64(l.Burst)
		flow := new(big.Rat).SetFrac(big2(l.Rate, tick), big.NewInt(l.Interval.Microseconds())) // tokens per tick
		level := new(big.Rat).Set(burst)
		now := epoch
		// until returns the microseconds until the level is at least want.
		until := func(want *big.Rat) int64 {
			lack := new(big.Rat).Sub(want, level)
			if lack.Sign() <= 0 {
				return 0
			}
			q := lack.Quo(lack, flow)
			ticks, rest := new(big.Int).QuoRem(q.Num(), q.Denom(), new(big.Int))
			if rest.Sign() > 0 {
				ticks.Add(ticks, big.NewInt(1))
			}
			return ticks.Int64()*tick - now%tick
		}
		var retry time.Duration
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			then := now / tick
			now += drawWait(t, retry)
			level.Add(level, new(big.Rat).Mul(flow, new(big.Rat).SetInt64(now/tick-then)))
			if level.Cmp(burst) > 0 {
				level.Set(burst)
			}
			op := rapid.SampledFrom([]limiter.Op{limiter.Take, limiter.Take, limiter.Take, limiter.Take, limiter.Refund, limiter.Reset}).Draw(t, "op")
			cost := drawCost(t, l.Burst)
			got := c.ask(op, cost, now)

			want := limiter.Level{Admitted: true}
			tokens := new(big.Rat).SetInt64(cost)
			switch {
			case op == limiter.Reset:
				level.Set(burst)
			case op == limiter.Refund:
				if level.Add(level, tokens); level.Cmp(burst) > 0 {
					level.Set(burst)
				}
			case tokens.Cmp(level) <= 0:
				level.Sub(level, tokens)
			default:
				want.Admitted = false
				want.RetryAfter = time.Duration(until(tokens)) * time.Microsecond
			}
			want.Remaining = new(big.Int).Quo(level.Num(), level.Denom()).Int64()
			want.ResetAfter = time.Duration(until(burst)) * time.Microsecond
			if got.Allowed != want.Admitted || got.Levels[0] != want {
				t.Fatalf("%s: op %d, cost %d at %d, level %s:\n got %+v\nwant %+v", l, op, cost, now, level.FloatString(6), got, want)
			}
			if want.RetryAfter > 0 {
				retry = want.RetryAfter
			}
		}
	})
}

// TestWindowBound: what is admitted in any window of time is at most the burst
// and what flows in meanwhile, with nothing added for rounding.
func TestWindowBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{rule: drawRule(t)}
		token, refill, capacity, tick := c.rule.Units()
		type grant struct{ ticks, cost int64 }
		var grants []grant
		now, retry := epoch, time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += drawWait(t, retry)
			cost := drawCost(t, c.rule.Limit().Burst)
			res := c.ask(limiter.Take, cost, now)
			if res.Allowed {
				grants = append(grants, grant{now / tick, cost})
			}
			if w := res.RetryAfter(); w > 0 {
				retry = w
			}
			if r := res.Levels[0].Remaining; r < 0 || r > c.rule.Limit().Burst {
				t.Fatalf("remaining %d of %d", r, c.rule.Limit().Burst)
			}
		}
		for i := range grants {
			sum := new(big.Int)
			for _, g := range grants[i:] {
				sum.Add(sum, big2(g.cost, token))
				bound := big2(refill, g.ticks-grants[i].ticks)
				if bound.Add(bound, big.NewInt(capacity)); sum.Cmp(bound) > 0 {
					t.Fatalf("%s: admitted %s units in a window that has %s", c.rule.Limit(), sum, bound)
				}
			}
		}
	})
}

// TestModestDemandIsNeverDenied is the other side of the window bound: who
// stays within the limit never hears no.
func TestModestDemandIsNeverDenied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{rule: drawRule(t)}
		l := c.rule.Limit()
		_, _, _, tick := c.rule.Units()
		c.ask(limiter.Take, l.Burst, epoch) // nothing saved up
		now := epoch - epoch%tick
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			cost := rapid.Int64Range(1, min(l.Burst, 1000)).Draw(t, "cost")
			// the time in which that many flow in, rounded up to whole ticks
			need := big2(cost, l.Interval.Microseconds())
			need.Add(need, big.NewInt(l.Rate-1)).Quo(need, big.NewInt(l.Rate))
			us := need.Int64()
			if us > 1e15 {
				return // longer than a clock goes
			}
			now += (us + tick - 1) / tick * tick
			if res := c.ask(limiter.Take, cost, now); !res.Allowed {
				t.Fatalf("%s: cost %d denied although %d us had passed: %+v", l, cost, us, res)
			}
		}
	})
}

// TestRetryAfterIsTrue to a microsecond, and to a millisecond when rounded up
// to one as on the wire: wait that long and you pass, one less and you don't.
func TestRetryAfterIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{rule: drawRule(t)}
		burst := c.rule.Limit().Burst
		now := epoch + rapid.Int64Range(0, 1e9).Draw(t, "start")
		c.ask(limiter.Take, rapid.Int64Range(1, burst).Draw(t, "first"), now)
		now += rapid.Int64Range(0, 2_000_000).Draw(t, "later")
		cost := drawCost(t, burst)
		res := c.ask(limiter.Take, cost, now)
		if res.Allowed {
			if res.RetryAfter() != 0 {
				t.Fatalf("allowed with retry after %s", res.RetryAfter())
			}
			return
		}
		us := res.RetryAfter().Microseconds()
		if us <= 0 || us > 1<<61 {
			return // longer than a clock goes
		}
		ms := (us + 999) / 1000 * 1000
		for wait, want := range map[int64]bool{us - 1: false, us: true, ms - 1000: false, ms: true} {
			if wait < 0 {
				continue
			}
			probe := *c
			if got := probe.ask(limiter.Take, cost, now+wait); got.Allowed != want {
				t.Fatalf("%s: cost %d, retry after %d us: allowed %t after %d us", c.rule.Limit(), cost, us, got.Allowed, wait)
			}
		}
	})
}

// TestOpenIsTheInverseOfMark: what is stored is read back to the last unit.
func TestOpenIsTheInverseOfMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		_, refill, capacity, tick := r.Units()
		debt := rapid.OneOf(rapid.Int64Range(0, capacity), rapid.SampledFrom([]int64{0, 1, capacity - 1, capacity})).Draw(t, "debt")
		now := rapid.Int64Range(0, 1<<52).Draw(t, "now")
		m := r.Mark(limiter.State{debt}, now)
		if got, stale := r.Open(m, now); got != (limiter.State{debt}) || stale {
			t.Fatalf("%s: debt %d at %d is read back as %d from %+v, stale %t", r.Limit(), debt, now, got, m, stale)
		}
		if got, _ := r.Open(m, now+tick); got[0] != max(0, debt-refill) {
			t.Fatalf("%s: a tick later debt %d is %d, want %d", r.Limit(), debt, got, max(0, debt-refill))
		}
	})
}

// TestOpenStaysInBounds for every mark there can be, such as one that was
// damaged or left by a clock that jumped.
func TestOpenStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		_, _, capacity, _ := r.Units()
		m := limiter.BucketMark(
			rapid.Int64Min(0).Draw(t, "until"), rapid.Int64Min(0).Draw(t, "at"), rapid.Int64Min(0).Draw(t, "frac"),
			rapid.SampledFrom([]int64{0, 1, 1000, 1_000_000}).Draw(t, "tick"))
		now := rapid.Int64Range(0, 1<<52).Draw(t, "now")
		if got, _ := r.Open(m, now); got[0] < 0 || got[0] > capacity {
			t.Fatalf("%s: %+v at %d owes %d of %d", r.Limit(), m, now, got, capacity)
		}
	})
}

// TestChangedLimitMintsNothing: under another limit a bucket is full no sooner
// than it would have been, or than an empty bucket of that limit is.
func TestChangedLimitMintsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := &cell{rule: drawRule(t)}
		now := epoch
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			now += rapid.Int64Range(0, 5_000_000).Draw(t, "wait")
			old.ask(limiter.Take, drawCost(t, old.rule.Limit().Burst), now)
		}
		was := old.ask(limiter.Take, 0, now).Levels[0]

		fresh := &cell{rule: drawRule(t), mark: old.mark}
		got := fresh.ask(limiter.Take, 0, now).Levels[0]
		empty := &cell{rule: fresh.rule}
		empty.ask(limiter.Take, fresh.rule.Limit().Burst, now)
		longest := empty.ask(limiter.Take, 0, now).Levels[0].ResetAfter
		if got.Remaining < 0 || got.Remaining > fresh.rule.Limit().Burst {
			t.Fatalf("%d of %d remain", got.Remaining, fresh.rule.Limit().Burst)
		}
		if got.ResetAfter < min(was.ResetAfter, longest) || got.ResetAfter > longest {
			t.Fatalf("from %s to %s: full in %s, was %s, an empty one takes %s", old.rule.Limit(), fresh.rule.Limit(), got.ResetAfter, was.ResetAfter, longest)
		}
	})
}

// TestSimulation: capacity 100, refill 1/s, 300 requests 50 ms apart. While
// the bucket empties five tokens flow in, so the first 105 pass; from then on
// there is a token every 20 requests.
func TestSimulation(t *testing.T) {
	store := memstore.New(memstore.Options{})
	rule, err := limiter.Limit{Rate: 1, Interval: time.Second, Burst: 100}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	var passed []int
	for i := range 300 {
		checks := []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}}
		results := make([]limiter.Result, 1)
		at := time.UnixMicro(epoch).Add(time.Duration(i) * 50 * time.Millisecond)
		if err := store.TakeAt(context.Background(), at, checks, results); err != nil {
			t.Fatal(err)
		}
		if results[0].Allowed {
			passed = append(passed, i+1)
		}
	}
	var want []int
	for i := 1; i <= 105; i++ {
		want = append(want, i)
	}
	for i := 121; i <= 300; i += 20 {
		want = append(want, i)
	}
	if !slices.Equal(passed, want) {
		t.Errorf("passed %v\nwant %v", passed, want)
	}
}
