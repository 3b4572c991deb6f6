package limiter_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestUndoNeverMints lets callers take from one bucket, keep what they got, or
// hold it for a while and give it back, in any overlap. What is kept is never
// more than the limit alone would admit, in no span of time.
func TestUndoNeverMints(t *testing.T) {
	for _, limit := range []limiter.Limit{
		{Rate: 3, Interval: 7 * time.Millisecond, Burst: 10},
		{Rate: 1000, Interval: time.Second, Burst: 5},
		{Rate: 1, Interval: time.Hour, Burst: 3},
		{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: 10 * time.Millisecond},
		{Algorithm: limiter.FixedWindow, Rate: 10, Interval: 10 * time.Millisecond},
		{Algorithm: limiter.FixedWindow, Rate: 10, Calendar: limiter.Calendar{Period: "minute"}},
	} {
		rule, err := limit.Compile()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(limit.Algorithm+" "+limit.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { testUndo(t, rule) })
		})
	}
}

func testUndo(t *rapid.T, rule *limiter.Rule) {
	type holding struct{ cost, taken, until int64 }
	type grant struct{ cost, at int64 }
	const begin = 1_763_712_000_123_457
	limit := rule.Limit()
	var mark limiter.Mark
	var held []holding
	var kept []grant
	do := func(op limiter.Op, cost, taken, now int64) limiter.Result {
		state, _ := rule.Open(mark, now)
		states := []limiter.State{state}
		var res limiter.Result
		limiter.Decide(&limiter.Check{Op: op, Demands: []limiter.Demand{{Rule: rule, Cost: cost, Taken: taken}}}, states, now, &res)
		mark = rule.Mark(states[0], now)
		return res
	}
	step := rapid.SampledFrom([]int64{0, 1, 100, 999, 1000, 2333, 3000, 60_000_000})
	for now := int64(begin); len(kept)+len(held) < 40 && now < begin+1e9; now += step.Draw(t, "step") {
		rest := held[:0]
		for _, h := range held {
			if h.until > now {
				rest = append(rest, h)
			} else if res := do(limiter.Undo, h.cost, h.taken, now); !res.Allowed || res.Levels[0].Remaining > limit.Burst {
				t.Fatalf("giving %d back: %+v", h.cost, res)
			}
		}
		held = rest
		cost := rapid.Int64Range(1, limit.Burst).Draw(t, "cost")
		if res := do(limiter.Look, cost, 0, now); res.Allowed != do(limiter.Look, cost, 0, now).Allowed {
			t.Fatal("a look has changed the bucket")
		} else if !res.Allowed {
			continue
		}
		if res := do(limiter.Take, cost, 0, now); !res.Allowed || res.At != now {
			t.Fatalf("looked and could not take: %+v", res)
		}
		if rapid.Bool().Draw(t, "keep") {
			kept = append(kept, grant{cost, now})
		} else {
			held = append(held, holding{cost, now, now + step.Draw(t, "hold")})
		}
	}
	for i, first := range kept {
		sum := int64(0)
		for _, g := range kept[i:] {
			sum += g.cost
			most := limit.Burst
			if limit.Algorithm == limiter.TokenBucket {
				most += (g.at - first.at) * limit.Rate / limit.Interval.Microseconds()
			} else if window(rule, first.at) != window(rule, g.at) {
				break
			}
			if sum > most {
				t.Fatalf("%d kept from %d to %d us, want at most %d", sum, first.at-begin, g.at-begin, most)
			}
		}
	}
}

// window returns the number of the window of a time.
func window(rule *limiter.Rule, at int64) int64 {
	if limit := rule.Limit(); limit.Interval > 0 {
		return at / limit.Interval.Microseconds()
	}
	return at / time.Minute.Microseconds()
}
