package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// names returns that many keys as users have them.
func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("tenant.acme.user.%08d", i)
	}
	return keys
}

func check(key string, rule *limiter.Rule) []limiter.Check {
	return []limiter.Check{{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: 1}}}}
}

func BenchmarkTake(b *testing.B) {
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 100, Interval: time.Hour})
	for _, n := range []int{1000, 1_000_000} {
		keys := names(n)
		store := memstore.New(memstore.Options{Keys: 2 * n})
		results := make([]limiter.Result, 1)
		for _, key := range keys {
			_ = store.Take(b.Context(), check(key, rule), results)
		}
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			rng, c := rand.New(rand.NewPCG(1, 2)), check("", rule)
			b.ReportAllocs()
			for b.Loop() {
				c[0].Demands[0].Key = keys[rng.IntN(n)]
				if err := store.Take(b.Context(), c, results); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("keys=%d/parallel", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				rng, c, results := rand.New(rand.NewPCG(rand.Uint64(), 2)), check("", rule), make([]limiter.Result, 1)
				for pb.Next() {
					c[0].Demands[0].Key = keys[rng.IntN(n)]
					if err := store.Take(b.Context(), c, results); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkFlood puts a new key into a full store every time, which is the
// most work a check can make.
func BenchmarkFlood(b *testing.B) {
	store := memstore.New(memstore.Options{Keys: 1_000_000})
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 100, Interval: time.Hour})
	results := make([]limiter.Result, 1)
	for _, key := range names(1_100_000) {
		_ = store.Take(b.Context(), check(key, rule), results)
	}
	c, i := check("", rule), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		c[0].Demands[0].Key = fmt.Sprintf("flood.%d", i)
		if err := store.Take(b.Context(), c, results); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory reports what a bucket costs, its key included.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 100, Interval: time.Hour})
	keys, results := names(n), make([]limiter.Result, 1)
	for b.Loop() {
		before := heap()
		store := memstore.New(memstore.Options{Keys: 2 * n})
		for _, key := range keys {
			_ = store.Take(b.Context(), check(key, rule), results)
		}
		b.ReportMetric(float64(heap()-before)/n, "bytes/key")
		runtime.KeepAlive(store)
	}
}
