package denycache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// BenchmarkKnown is what a cache costs each check: a hit, and the ways to miss.
func BenchmarkKnown(b *testing.B) {
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 1, Interval: time.Hour})
	hot := limiter.Check{Demands: []limiter.Demand{{Key: "user.42", Rule: rule, Cost: 1}}}
	var keys []limiter.Check
	for i := range 4096 {
		keys = append(keys, limiter.Check{Demands: []limiter.Demand{{Key: fmt.Sprint("user.", i+100), Rule: rule, Cost: 1}}})
	}
	var now time.Time
	fill := func(checks ...limiter.Check) *denycache.Cache {
		now = limitertest.Epoch
		c := newTimed(memstore.New(memstore.Options{}))
		for range 2 {
			for i := range checks {
				if err := c.TakeAt(b.Context(), now, checks[i:i+1], make([]limiter.Result, 1)); err != nil {
					b.Fatal(err)
				}
			}
		}
		return c.Cache
	}
	run := func(name string, c *denycache.Cache, checks []limiter.Check, want bool) {
		b.Run(name, func(b *testing.B) {
			res := limiter.Result{Levels: make([]limiter.Level, 0, 1), States: make([]limiter.State, 0, 1)}
			b.ReportAllocs()
			for i := range b.N {
				if got := c.Known(now, &checks[i%len(checks)], &res); got != want {
					b.Fatalf("known: %t, want %t", got, want)
				}
			}
		})
	}
	one := []limiter.Check{hot}
	run("hit", fill(hot), one, true)
	run("hit one of many", fill(keys...), keys, true)
	run("miss, nothing remembered", fill(), keys, false)
	run("miss, one remembered", fill(hot), keys, false)
	run("miss, many remembered", fill(keys...), one, false)
}
