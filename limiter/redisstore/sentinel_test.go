package redisstore_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// TestSentinel fails over under load. Checks are answered again without a
// restart, and what is admitted beyond the limit is at most what was admitted
// after the replica had heard the last of the primary.
func TestSentinel(t *testing.T) {
	const burst = 3000
	for _, tt := range []struct {
		name string
		fail func(*redistest.Sentinel)
		lag  bool // the replica hears nothing before the failover
	}{
		{"killed with a lag", func(s *redistest.Sentinel) { s.Primary.Kill() }, true},
		{"planned", (*redistest.Sentinel).Failover, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.StartSentinel(t)
			store := redisstore.New(open(t, s.URL()))
			rule := limitertest.MustCompile(t, limiter.Limit{Rate: burst, Interval: limiter.MaxInterval})
			mustTake(t, store, "k", rule, 500)
			s.Sync()
			if tt.lag {
				s.Link.BlackHole()
			}
			mustTake(t, store, "k", rule, 500)

			var granted, denied, failed atomic.Int64
			granted.Store(1000)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					results := make([]limiter.Result, 1)
					for tick := time.NewTicker(4 * time.Millisecond); ctx.Err() == nil; <-tick.C {
						call, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
						switch err := store.Take(call, one("k", rule, 1), results); {
						case err != nil:
							failed.Add(1)
						case results[0].Allowed:
							granted.Add(1)
						default:
							denied.Add(1)
						}
						cancel()
					}
				})
			}
			pollUntil(t, "load is on", func() bool { return granted.Load() > 1050 })
			kept := int64(500) // of what was granted, at least so much is in the replica
			if !tt.lag {
				kept = granted.Load()
				s.Sync()
			}
			var lost int64 // of what was granted, at most so much is not
			from := time.Now()
			tt.fail(s)
			if tt.lag {
				<-time.After(100 * time.Millisecond) // for answers on their way; a failover takes longer
				lost = granted.Load() - kept
			}
			replica := open(t, s.Replica.URL())
			pollUntil(t, "the replica decides", func() bool {
				stats, err := replica.InfoMap(ctx, "commandstats").Result()
				return err == nil && (contains(stats, "cmdstat_evalsha") || contains(stats, "cmdstat_eval"))
			})
			took := time.Since(from)
			if !tt.lag { // the old primary grants until its clients hear of the new one
				<-time.After(100 * time.Millisecond) // for what the old primary is still asked
				lost = granted.Load() - kept
			}
			pollUntil(t, "nothing is left", func() bool {
				if res, err := take(store, one("k", rule, 100)); err == nil && res.Allowed {
					granted.Add(100)
				}
				return denied.Load() > 20
			})
			stop()
			wg.Wait()
			over := granted.Load() - burst
			t.Logf("back after %s; %d checks failed; %d of %d admitted, up to %d lost", took, failed.Load(), granted.Load(), burst, lost)
			if over > lost {
				t.Errorf("%d admitted beyond the limit, want at most the %d that may be lost", over, lost)
			}
			if tt.lag && over < 450 {
				t.Errorf("%d admitted beyond the limit, want about the %d that were lost: was anything?", over, lost)
			}
			if took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// pollUntil waits until f reports true, for at most fifteen seconds.
func pollUntil(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(15 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 15 s: %s", what)
		}
	}
}
