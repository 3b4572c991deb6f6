package failover_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
)

// TestOnOutage asks for what each kind of check says about outages: while the
// primary decides, when its calls fail, and when it is not asked any more.
func TestOnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		small := limitertest.MustCompile(t, limiter.Limit{Name: "small", Rate: 1, Interval: time.Hour})
		demands := func(key string, cost int64) []limiter.Demand {
			return []limiter.Demand{{Key: key, Rule: r.rule, Cost: cost}, {Key: key, Rule: small, Cost: min(cost, 1)}}
		}
		checks := []limiter.Check{
			{Demands: demands("m", 1)},
			{Demands: demands("a", 1), OnOutage: limiter.OutageAllow},
			{Demands: demands("d", 1), OnOutage: limiter.OutageDeny},
			{Demands: demands("d", 0), OnOutage: limiter.OutageDeny}, // looks
			{Op: limiter.Refund, Demands: demands("d", 1), OnOutage: limiter.OutageDeny},
			{Op: limiter.Reset, Demands: demands("a", 0), OnOutage: limiter.OutageAllow},
		}
		type answer struct {
			allowed bool
			source  limiter.Source
			retry   time.Duration
		}
		const redis, memory, policy = limiter.SourceRedis, limiter.SourceMemory, limiter.SourcePolicy
		expect := func(when string, want [6]answer) {
			t.Helper()
			results := make([]limiter.Result, len(checks))
			for i := range results {
				results[i].Source = redis // what is left of the last use
			}
			if err := r.Take(t.Context(), checks, results); err != nil {
				t.Fatal(err)
			}
			for i, res := range results {
				if got := (answer{res.Allowed, res.Source, res.RetryAfter()}); got != want[i] || len(res.Levels) != 2 {
					t.Errorf("%s, check %d: got %+v, %d levels, want %+v", when, i, got, len(res.Levels), want[i])
				}
			}
		}
		yes := answer{allowed: true, source: redis}
		expect("healthy", [6]answer{yes, yes, yes, yes, yes, yes})
		r.failing.Fail(errGone)
		down := [6]answer{{true, memory, 0}, {true, policy, 0}, {false, policy, time.Second}, {true, memory, 0}, {true, memory, 0}, {true, memory, 0}}
		expect("failing", down)
		down[0] = answer{false, memory, time.Hour}
		for !r.breakerOpen() {
			expect("failing on", down)
		}
		asked := r.asked.Calls.Load()
		expect("open", down)
		if n := r.asked.Calls.Load(); n != asked {
			t.Errorf("the primary was asked %d times while the breaker was open", n-asked)
		}
		results := make([]limiter.Result, 1)
		if err := r.Take(t.Context(), []limiter.Check{{OnOutage: limiter.OutageDeny}}, results); err == nil || results[0].Source != limiter.SourceNone {
			t.Errorf("a check without demands: %+v, %v; want an error", results[0], err)
		}
	})
}

func (r *rig) breakerOpen() bool { return !r.Status().Up() }
