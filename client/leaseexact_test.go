package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client"
)

// admitted are tokens that were let through, of all callers.
type admitted struct {
	mu     sync.Mutex
	start  time.Time
	events []admission
}

type admission struct {
	at time.Duration
	n  int64
}

func (a *admitted) add(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, admission{time.Since(a.start), n})
}

// TestLeaseExact has leases and clients that use one key at random, some
// seldom and some as much as they can, and leases that come and go. Counted by
// the clock of the store, no more passes than the limit grants from the
// beginning; and in any interval no more than that and what leases hold when
// it begins.
func TestLeaseExact(t *testing.T) {
	const rate, seconds = 200, 4
	for _, algorithm := range []string{"token_bucket", "fixed_window", "sliding_window"} {
		t.Run(algorithm, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, "")
				limit := []client.LeaseOption{client.WithRate(rate, time.Second), client.WithAlgorithm(algorithm), client.WithHoldTime(100 * time.Millisecond)}
				time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
				a := &admitted{start: time.Now()}
				ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
				defer cancel()
				var wg sync.WaitGroup
				var most atomic.Int64 // that leases held together
				for i := range 4 {
					c := r.client()
					wg.Go(func() {
						for round := 0; ctx.Err() == nil; round++ {
							useLease(t, ctx, c, a, &most, rand.New(rand.NewPCG(uint64(i), uint64(round))), limit)
						}
					})
				}
				c := r.client()
				wg.Go(func() {
					for ctx.Err() == nil {
						res, err := c.Check(context.Background(), "k", client.WithRate(rate, time.Second), client.WithAlgorithm(algorithm))
						if err != nil {
							t.Error(err)
							return
						}
						if res.Allowed {
							a.add(1)
						}
						time.Sleep(res.RetryAfter + rand.N(10*time.Millisecond))
					}
				})
				wg.Wait()
				a.check(t, algorithm, rate, most.Load())
			})
		})
	}
}

// TestLeaseConserves has callers who give up, leases that are closed while
// they are used, and a bucket that does not refill meanwhile: in the end
// exactly what was admitted is missing.
func TestLeaseConserves(t *testing.T) {
	r := newRig(t, "")
	const burst = 200_000
	limit := client.WithRate(burst, 366*24*time.Hour)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		c := r.client(client.WithTimeout(time.Minute))
		wg.Go(func() {
			for range 10 {
				l, err := c.Lease(t.Context(), "k", limit, client.WithHoldTime(20*time.Millisecond))
				if err != nil {
					t.Error(err)
					return
				}
				var users sync.WaitGroup
				for range 8 {
					users.Go(func() {
						for {
							ctx, cancel := context.WithTimeout(context.Background(), rand.N(2*time.Millisecond))
							n := 1 + rand.Int64N(5)
							taken, err := l.Take(ctx, n)
							cancel()
							switch {
							case errors.Is(err, client.ErrLeaseClosed):
								return
							case err != nil && !errors.Is(err, context.DeadlineExceeded):
								t.Errorf("client %d: %v", i, err)
								return
							case taken.Allowed:
								admitted.Add(n)
							}
							if rand.IntN(100) == 0 {
								time.Sleep(rand.N(30 * time.Millisecond))
							}
						}
					})
				}
				time.Sleep(rand.N(60 * time.Millisecond))
				if err := l.Close(context.Background()); err != nil {
					t.Error(err)
				}
				users.Wait()
			}
		})
	}
	wg.Wait()
	if left := r.left(r.client(), "k", limit); left+admitted.Load() != burst {
		t.Errorf("%d were admitted and %d are left of %d", admitted.Load(), left, burst)
	}
	if admitted.Load() < 1000 {
		t.Errorf("only %d were admitted", admitted.Load())
	}
}

// useLease uses a lease for up to a second with three goroutines.
func useLease(t *testing.T, ctx context.Context, c *client.Client, a *admitted, most *atomic.Int64, rnd *rand.Rand, limit []client.LeaseOption) {
	l, err := c.Lease(context.Background(), "k", limit...)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+rnd.Int64N(int64(time.Second))))
	defer cancel()
	pause := []time.Duration{20 * time.Microsecond, 500 * time.Microsecond, 30 * time.Millisecond}[rnd.IntN(3)]
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := 1 + rand.Int64N(3)
				taken, err := l.Take(context.Background(), n)
				if err != nil {
					t.Error(err)
					return
				}
				if taken.Allowed {
					a.add(n)
				}
				for held := l.Held(); ; {
					if m := most.Load(); held <= m || most.CompareAndSwap(m, held) {
						break
					}
				}
				time.Sleep(rand.N(pause) + taken.RetryAfter)
			}
		})
	}
	wg.Wait()
	if err := l.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// check checks what was admitted, where most is the most that one of four
// leases held at one time.
func (a *admitted) check(t *testing.T, algorithm string, rate, most int64) {
	slices.SortStableFunc(a.events, func(x, y admission) int { return int(x.at - y.at) })
	var sum int64
	windows := map[time.Duration]int64{}
	for _, e := range a.events {
		sum += e.n
		windows[e.at/time.Second] += e.n
		granted := rate + int64(e.at*time.Duration(rate)/time.Second)
		if algorithm == "fixed_window" {
			granted = rate * (1 + int64(e.at/time.Second))
		}
		if sum > granted {
			t.Fatalf("%d were admitted in the first %s, want at most %d", sum, e.at, granted)
		}
	}
	for w, n := range windows {
		switch {
		case algorithm == "fixed_window" && n > rate:
			t.Errorf("%d were admitted in window %d", n, w)
		case algorithm == "sliding_window" && n > rate+4*most:
			t.Errorf("%d were admitted in window %d, with at most %d held", n, w, 4*most)
		}
	}
	if algorithm == "token_bucket" {
		// The largest excess over all intervals, by what it grew since it was
		// smallest.
		var lowest, excess, sum int64
		for _, e := range a.events {
			flow := int64(e.at * time.Duration(rate) / time.Second)
			lowest = min(lowest, sum-flow)
			sum += e.n
			excess = max(excess, sum-flow-lowest)
		}
		if excess > rate+4*most+1 {
			t.Errorf("in some interval %d more than the flow were admitted, want at most the burst of %d and %d held", excess, rate, 4*most)
		}
	}
	t.Logf("%d admitted, at most %d held by one lease", sum, most)
	if sum < 3*rate || most == 0 {
		t.Errorf("only %d were admitted, with %d held", sum, most)
	}
}
