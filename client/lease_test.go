package client_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/client"
)

// take takes n tokens that must be decided about.
func take(t *testing.T, l *client.Lease, n int64) client.Taken {
	t.Helper()
	taken, err := l.Take(context.Background(), n)
	if err != nil {
		t.Fatalf("Take(%d): %v", n, err)
	}
	return taken
}

// TestLease has a lease that takes ahead more and more, asks seldom, and gives
// the rest back in the end.
func TestLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(100_000, time.Hour)
		l := r.lease(c, "k", limit)
		if n := l.Held(); n != 0 {
			t.Errorf("a new lease holds %d", n)
		}
		for i := range 10_000 {
			if taken := take(t, l, 1); taken != (client.Taken{Allowed: true}) {
				t.Fatalf("take %d: %+v", i, taken)
			}
			time.Sleep(10 * time.Microsecond)
		}
		// That was 100 ms, of which 20 ms are taken ahead.
		if asks := r.store.asks.Load(); asks > 30 {
			t.Errorf("10000 tokens took %d checks", asks)
		}
		held := l.Held()
		if held < 1000 || held > 4000 {
			t.Errorf("it holds %d, want about 2000", held)
		}
		// The bucket has refilled by less than three tokens meanwhile.
		if left := r.left(c, "k", limit); left+held < 90_000 || left+held > 90_003 {
			t.Errorf("%d held and %d left, want 90000 together", held, left)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if left := r.left(c, "k", limit); left < 90_000 || left > 90_003 || l.Held() != 0 {
			t.Errorf("after Close %d are left and %d held", left, l.Held())
		}
		for range 2 {
			if taken, err := l.Take(t.Context(), 1); taken.Allowed || !errors.Is(err, client.ErrLeaseClosed) {
				t.Errorf("Take after Close: %+v, %v", taken, err)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Errorf("Close again: %v", err)
			}
		}
	})
}

// TestLeaseExpiry has tokens that nobody spends: they go back by themselves.
func TestLeaseExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(100_000, time.Hour)
		l := r.lease(c, "k", limit, client.WithHoldTime(200*time.Millisecond))
		for range 1000 {
			take(t, l, 1)
			time.Sleep(10 * time.Microsecond)
		}
		held := l.Held()
		if held < 100 {
			t.Fatalf("it holds %d", held)
		}
		left := r.left(c, "k", limit)
		time.Sleep(201 * time.Millisecond)
		synctest.Wait()
		if n := l.Held(); n != 0 {
			t.Errorf("after the hold time it holds %d", n)
		}
		if got := r.left(c, "k", limit); got < left+held || got > left+held+10 {
			t.Errorf("%d were left and %d held; now %d are left", left, held, got)
		}
		// And it goes on.
		if !take(t, l, 1).Allowed {
			t.Error("denied after a pause")
		}
	})
}

// TestLeaseDenied asks once for as long as a denial lasts.
func TestLeaseDenied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		l := r.lease(c, "k", client.WithRate(2, time.Second))
		for range 2 {
			if !take(t, l, 1).Allowed {
				t.Fatal("denied")
			}
		}
		before := r.store.asks.Load()
		for i := range 499 {
			want := client.Taken{RetryAfter: time.Duration(500-i) * time.Millisecond}
			if taken := take(t, l, 1); taken != want {
				t.Fatalf("after %dms: got %+v, want %+v", i, taken, want)
			}
			time.Sleep(time.Millisecond)
		}
		if n := r.store.asks.Load() - before; n > 2 {
			t.Errorf("a denial took %d checks", n)
		}
		time.Sleep(time.Millisecond)
		if taken := take(t, l, 1); !taken.Allowed {
			t.Errorf("after RetryAfter: %+v", taken)
		}

		// More than that is denied as well, and never less.
		if taken := take(t, l, 2); taken.Allowed || taken.RetryAfter != time.Second {
			t.Errorf("two tokens: %+v", taken)
		}
		time.Sleep(500 * time.Millisecond)
		if taken := take(t, l, 1); !taken.Allowed {
			t.Errorf("one token: %+v", taken)
		}
	})
}

// TestLeaseReset has a denial of an hour, which is not remembered for longer
// than the hold time, because somebody may fill the bucket.
func TestLeaseReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(1, time.Hour)
		l := r.lease(c, "k", limit)
		take(t, l, 1)
		if taken := take(t, l, 1); taken.RetryAfter != time.Hour {
			t.Fatalf("%+v", taken)
		}
		if _, err := c.Reset(t.Context(), "k", limit); err != nil {
			t.Fatal(err)
		}
		time.Sleep(client.DefaultHoldTime)
		if taken := take(t, l, 1); !taken.Allowed {
			t.Errorf("after a reset: %+v", taken)
		}
	})
}

// TestLeaseLine has many callers and a service that takes its time: they wait
// for one request after the other, and nobody overtakes.
func TestLeaseLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		l := r.lease(c, "k", client.WithRate(1000, time.Hour))
		const trip = 10 * time.Millisecond
		r.store.takes.Store(int64(trip))
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 100 {
			wg.Go(func() {
				if !take(t, l, int64(1+i%3)).Allowed {
					t.Errorf("caller %d is denied", i)
				}
			})
		}
		wg.Wait()
		if asks := r.store.asks.Load(); asks > 3 {
			t.Errorf("100 callers made %d checks", asks)
		}
		if took := time.Since(start); took > 3*trip {
			t.Errorf("it took %s", took)
		}

		use(t, l, 100, time.Millisecond)
		held := l.Held()
		if held == 0 {
			t.Fatal("nothing is held")
		}
		start = time.Now()
		wg.Go(func() { take(t, l, held+100) })
		synctest.Wait()
		take(t, l, 1)
		if took := time.Since(start); took < trip {
			t.Errorf("one who came later got a token after %s", took)
		}
		wg.Wait()
	})
}

// TestLeaseLineLow has more callers than there are tokens, as is known.
func TestLeaseLineLow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		l := r.lease(r.client(), "k", client.WithRate(5, time.Hour))
		r.store.takes.Store(int64(time.Millisecond))
		var wg sync.WaitGroup
		var allowed, denied atomic.Int64
		for range 20 {
			wg.Go(func() {
				if taken := take(t, l, 1); taken.Allowed {
					allowed.Add(1)
				} else if taken.RetryAfter > 11*time.Minute {
					denied.Add(1)
				}
			})
		}
		wg.Wait()
		if allowed.Load() != 5 || denied.Load() != 15 {
			t.Errorf("%d are allowed and %d denied, want 5 and 15", allowed.Load(), denied.Load())
		}
		// What the first who came wants, what the others can have, and a denial.
		if n := r.store.asks.Load(); n > 3 {
			t.Errorf("that took %d checks", n)
		}
	})
}

// TestLeaseWindow has a window that ends: nothing of it is spent in the next
// one, nor given back to that.
func TestLeaseWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := []client.CheckOption{client.WithRate(1000, 10*time.Second), client.WithAlgorithm("fixed_window")}
		l := r.lease(c, "k", limit[0], limit[1], client.WithHoldTime(time.Minute))
		end := time.Now().Truncate(10 * time.Second).Add(10 * time.Second)
		time.Sleep(time.Until(end.Add(-100 * time.Millisecond)))
		use(t, l, 200, 200*time.Microsecond)
		held := l.Held()
		if left := r.left(c, "k", limit...); held == 0 || left+held != 800 {
			t.Fatalf("%d are held and %d left", held, left)
		}
		time.Sleep(time.Until(end))
		if n := l.Held(); n != 0 {
			t.Errorf("%d are held of a window that is over", n)
		}
		if _, err := c.Check(t.Context(), "k", limit...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := r.left(c, "k", limit...); left != 999 {
			t.Errorf("%d are left in the new window, want 999", left)
		}
	})
}

// TestLeaseGiveUp has callers who do not wait for an answer; its tokens stay
// with the lease.
func TestLeaseGiveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		l := r.lease(c, "k", client.WithRate(1000, time.Hour))
		r.store.takes.Store(int64(100 * time.Millisecond))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := l.Take(ctx, 3)
		checkError(t, err, `ratelimit: lease "k": deadline_exceeded: no answer in time; if one comes, its tokens stay with the lease`, "ErrTimeout")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not wrap context.DeadlineExceeded", err)
		}
		_, err = l.Take(ctx, 3)
		checkError(t, err, "not sent", "ErrTimeout")
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err = l.Take(ctx, 3)
		checkError(t, err, `ratelimit: lease "k": context canceled`)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := l.Held(); n != 3 {
			t.Errorf("it holds %d, want the 3 that nobody waited for", n)
		}
		start := time.Now()
		if !take(t, l, 3).Allowed || time.Since(start) > 0 {
			t.Errorf("they were not there; it took %s", time.Since(start))
		}
	})
}

// TestLeaseFairness has a lease that wants all it can get of a small limit,
// and a client that asks as politely as Check says.
func TestLeaseFairness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		greedy, plain := r.client(), r.client()
		limit := client.WithRate(100, time.Second)
		l := r.lease(greedy, "k", limit)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		var leased, checked atomic.Int64
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if taken, err := l.Take(context.Background(), 1); err == nil && taken.Allowed {
						leased.Add(1)
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				res, err := plain.Check(context.Background(), "k", limit)
				if err != nil {
					t.Error(err)
					return
				}
				if res.Allowed {
					checked.Add(1)
				}
				time.Sleep(res.RetryAfter)
			}
		})
		wg.Wait()
		// 100 at once, and 1000 in the time.
		if sum := leased.Load() + checked.Load(); sum < 1000 || sum > 1100 {
			t.Errorf("%d were admitted, want 1000 to 1100", sum)
		}
		if checked.Load() < 200 {
			t.Errorf("the lease got %d and the other client %d", leased.Load(), checked.Load())
		}
	})
}

func BenchmarkLease(b *testing.B) {
	c := newRig(b, "").client()
	for _, bb := range []struct {
		name  string
		limit client.CheckOption
		many  bool
	}{
		{"one", client.WithRate(1<<40, time.Second), false},
		{"contended", client.WithRate(1<<40, time.Second), true},
		{"denied", client.WithRate(1, time.Hour), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			ctx := b.Context()
			l, err := c.Lease(ctx, "k", bb.limit)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close(context.Background())
			one := func() {
				if _, err := l.Take(ctx, 1); err != nil {
					b.Error(err)
				}
			}
			for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
				one() // until it knows how much is used
			}
			b.ReportAllocs()
			if !bb.many {
				for b.Loop() {
					one()
				}
				return
			}
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one()
				}
			})
		})
	}
}
