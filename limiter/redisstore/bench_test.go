package redisstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
)

// BenchmarkTake decides batches as package batch makes them: of keys that are
// all different, and of one key that everybody asks for.
func BenchmarkTake(b *testing.B) {
	server, store := start(b)
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 1_000_000, Interval: time.Second})
	for _, size := range []int{1, 64, 256} {
		for _, keys := range slices.Compact([]int{size, 1}) {
			b.Run(fmt.Sprintf("batch=%d/keys=%d", size, keys), func(b *testing.B) {
				server.MustDo("FLUSHALL")
				checks, results := make([]limiter.Check, size), make([]limiter.Result, size)
				for i := range checks {
					checks[i] = one(fmt.Sprintf("tenant.acme.user.%08d", i%keys), rule, 1)[0]
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := store.Take(b.Context(), checks, results); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/check")
			})
		}
	}
}
