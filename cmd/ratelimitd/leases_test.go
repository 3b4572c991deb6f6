package main

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client"
)

// TestLeasesAndChecks has processes with leases and others without them want
// far more of one key than there is, through three workers on one Redis:
// together they get the limit, and nobody gets nothing.
func TestLeasesAndChecks(t *testing.T) {
	const rate, burst = 500, 100
	url, _ := cached(t)
	limit := []client.CheckOption{client.WithRate(rate, time.Second), client.WithBurst(burst)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	begin := time.Now()
	taken := make([]atomic.Int64, 3) // by the leases
	for i := range taken {
		c := dial(t, url, client.WithTimeout(30*time.Second))
		lease, err := c.Lease(t.Context(), "hot", limit[0], limit[1])
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					res, err := lease.Take(t.Context(), 1)
					if err != nil {
						t.Error(err)
						return
					}
					if res.Allowed {
						taken[i].Add(1)
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
		}
		defer func() {
			if err := lease.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
	}
	var checks tally
	hammer(ctx, t, url, 20, time.Millisecond, &checks, limit...)
	wg.Wait()
	most := burst + rate*time.Since(begin).Seconds()
	sum := checks.admitted.Load()
	for i := range taken {
		n := taken[i].Load()
		sum += n
		if n == 0 {
			t.Errorf("lease %d got nothing", i)
		}
	}
	t.Logf("%d admitted of at most %.1f; by leases %d, %d and %d; checks: %s", sum, most, taken[0].Load(), taken[1].Load(), taken[2].Load(), &checks)
	if float64(sum) > most || float64(sum) < 0.8*most {
		t.Errorf("%d were admitted, want between %.1f and %.1f", sum, 0.8*most, most)
	}
	if checks.admitted.Load() == 0 || checks.failed.Load() > 0 || checks.degraded.Load() > 0 {
		t.Errorf("without a lease: %s", &checks)
	}
}
