package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/client"
)

// waiters wait in line, and note when they were let through.
type waiters struct {
	wg    sync.WaitGroup
	start time.Time

	mu    sync.Mutex
	order []string
}

// wait puts one into the line, behind those who are there. It must succeed
// after the time want, to which other processes may add a tenth.
func (w *waiters) wait(t *testing.T, c *client.Client, name string, want time.Duration, opts ...client.CheckOption) {
	t.Helper()
	if w.start.IsZero() {
		w.start = time.Now()
	}
	w.wg.Go(func() {
		res, err := c.Wait(t.Context(), "k", opts...)
		if took := time.Since(w.start); err != nil || !res.Allowed || took < want || took > want+want/10 {
			t.Errorf("%s, after %s: %+v, %v; want it after %s", name, took, res, err, want)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.order = append(w.order, name)
	})
	synctest.Wait()
}

func (w *waiters) check(t *testing.T, c *client.Client, want ...string) {
	t.Helper()
	w.wg.Wait()
	if !slices.Equal(w.order, want) {
		t.Errorf("they passed in the order %v, want %v", w.order, want)
	}
	synctest.Wait()
	if n := client.Lines(c); n != 0 {
		t.Errorf("%d lines are left", n)
	}
}

// TestWait has a line for a bucket of two, of which a token comes back each
// second, with one in the line who wants two.
func TestWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := []client.CheckOption{client.WithRate(1, time.Second), client.WithBurst(2)}
		var w waiters
		w.wait(t, c, "a", 0, limit...)
		w.wait(t, c, "b", 0, limit...)
		w.wait(t, c, "c", 1*time.Second, limit...)
		w.wait(t, c, "d", 2*time.Second, limit...)
		w.wait(t, c, "e", 4*time.Second, append(limit, client.WithCost(2))...)
		w.wait(t, c, "f", 5*time.Second, limit...)
		w.check(t, c, "a", "b", "c", "d", "e", "f")
		// One denial says all there is to know.
		if n := r.store.asks.Load(); n != 7 {
			t.Errorf("6 tokens took %d checks", n)
		}
	})
}

// TestWaitWindow has tokens that come back all at once.
func TestWaitWindow(t *testing.T) {
	for _, algorithm := range []string{"fixed_window", "sliding_window"} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "")
			c := r.client()
			limit := []client.CheckOption{client.WithRate(3, 10*time.Second), client.WithAlgorithm(algorithm)}
			start := time.Now()
			for i := range 9 {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				_, err := c.Wait(ctx, "k", limit...)
				cancel()
				if err != nil {
					t.Fatalf("%s, token %d after %s: %v", algorithm, i, time.Since(start), err)
				}
			}
			// Nobody is told that there is no chance when there is one.
			ctx, cancel := context.WithTimeout(t.Context(), 21*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if _, err := c.Wait(ctx, "k", limit...); err != nil {
						t.Errorf("%s: %v", algorithm, err)
					}
				})
				synctest.Wait()
			}
			wg.Wait()
		})
	}
}

// TestWaitDeadline has deadlines that cannot be met, because of the bucket or
// of those who stand ahead.
func TestWaitDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(1, time.Second)
		try := func(deadline time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			start := time.Now()
			_, err := c.Wait(ctx, "k", limit)
			return time.Since(start), err
		}
		late := func(deadline time.Duration, text string) {
			t.Helper()
			took, err := try(deadline)
			checkError(t, err, `ratelimit: wait "k": deadline_exceeded: `+text, "ErrTimeout")
			if took != 0 || !errors.Is(err, client.ErrPastDeadline) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %s: %v", took, err)
			}
		}
		if _, err := try(time.Minute); err != nil {
			t.Fatal(err)
		}
		late(500*time.Millisecond, "allowed in 1s at the earliest, which is past the context's deadline in 500ms; nothing was taken")
		var w waiters
		w.wait(t, c, "a", 1*time.Second, limit)
		w.wait(t, c, "b", 2*time.Second, limit)
		asks := r.store.asks.Load()
		late(2999*time.Millisecond, "allowed in 3s at the earliest, which is past the context's deadline in 2.999s; nothing was taken")
		if n := r.store.asks.Load(); n != asks {
			t.Errorf("that took %d checks", n-asks)
		}
		if took, err := try(3200 * time.Millisecond); err != nil || took < 3*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		w.check(t, c, "a", "b")

		// Those who stand in line hear of it as soon as it is known.
		synctest.Wait()
		r.store.takes.Store(int64(100 * time.Millisecond))
		start := time.Now()
		errs := make(chan error, 3)
		for _, deadline := range []time.Duration{5 * time.Second, 1500 * time.Millisecond, 1700 * time.Millisecond} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				_, err := c.Wait(ctx, "k", limit)
				errs <- err
			}()
			synctest.Wait()
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, client.ErrPastDeadline) || time.Since(start) > 100*time.Millisecond {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
		}
		if err := <-errs; err != nil {
			t.Error(err)
		}
	})
}

// TestWaitCanceled has some who leave the line: the others move up.
func TestWaitCanceled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(1, time.Second)
		if _, err := c.Wait(t.Context(), "k", limit); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var gone sync.WaitGroup
		leaver := func() {
			gone.Go(func() {
				start := time.Now()
				_, err := c.Wait(ctx, "k", limit)
				checkError(t, err, `ratelimit: wait "k": canceled while waiting for tokens; none were taken: context canceled`)
				if took := time.Since(start); took != 100*time.Millisecond {
					t.Errorf("it left after %s", took)
				}
			})
			synctest.Wait()
		}
		var w waiters
		leaver()
		w.wait(t, c, "a", 1*time.Second, limit)
		leaver()
		leaver()
		w.wait(t, c, "b", 2*time.Second, limit)
		leaver()
		time.Sleep(100 * time.Millisecond)
		cancel()
		gone.Wait()
		w.check(t, c, "a", "b")

		// If all leave, nothing stays behind, and nothing is asked.
		asks := r.store.asks.Load()
		ctx, cancel = context.WithCancel(t.Context())
		leaver()
		asks++ // the first asked at once
		time.Sleep(100 * time.Millisecond)
		cancel()
		gone.Wait()
		synctest.Wait()
		if n := client.Lines(c); n != 0 {
			t.Errorf("%d lines are left", n)
		}
		time.Sleep(time.Minute)
		if n := r.store.asks.Load(); n != asks {
			t.Errorf("%d checks were made for nobody", n-asks)
		}
	})
}

// TestWaitCanceledAsking has a caller who leaves while his check is decided.
func TestWaitCanceledAsking(t *testing.T) {
	for _, tt := range []struct {
		name    string
		next    []client.CheckOption // who stands behind
		left    int64
		refunds int64
	}{
		{"nobody is next", nil, 10, 1},
		{"the next wants the same", []client.CheckOption{client.WithCost(3)}, 7, 0},
		{"the next wants less", []client.CheckOption{client.WithCost(2)}, 8, 1},
	} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, "")
			c := r.client()
			limit := client.WithRate(10, time.Hour)
			r.store.takes.Store(int64(100 * time.Millisecond))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := c.Wait(ctx, "k", limit, client.WithCost(3))
				checkError(t, err, "the context's deadline passed while waiting for tokens; none were taken", "ErrTimeout")
			})
			synctest.Wait()
			if tt.next != nil {
				wg.Go(func() {
					if _, err := c.Wait(t.Context(), "k", append(tt.next, limit)...); err != nil {
						t.Errorf("%s: %v", tt.name, err)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Second)
			if left := r.left(c, "k", limit); left != tt.left {
				t.Errorf("%s: %d are left, want %d", tt.name, left, tt.left)
			}
			if n := r.store.refunds.Load(); n != tt.refunds {
				t.Errorf("%s: %d refunds, want %d", tt.name, n, tt.refunds)
			}
		})
	}
}

// TestWaitLeaky has a limit that admits at once and says when to proceed.
func TestWaitLeaky(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := []client.CheckOption{client.WithRate(1, time.Second), client.WithBurst(3), client.WithAlgorithm("leaky_bucket")}
		var w waiters
		for i, name := range []string{"a", "b", "c", "d", "e"} {
			w.wait(t, c, name, time.Duration(i)*time.Second, limit...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Wait(ctx, "k", limit...); !errors.Is(err, client.ErrPastDeadline) {
			t.Errorf("past the deadline: %v", err)
		}
		w.check(t, c, "a", "b", "c", "d", "e")

		// Who does not wait until then gives back what was taken.
		time.Sleep(time.Minute)
		for _, deadline := range []time.Duration{100 * time.Millisecond, time.Hour} {
			if _, err := c.Wait(t.Context(), "k", limit...); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			time.AfterFunc(100*time.Millisecond, cancel)
			if _, err := c.Wait(ctx, "k", limit...); err == nil {
				t.Error("no error")
			}
			synctest.Wait()
			if left := r.left(c, "k", limit...); left != 2 {
				t.Errorf("%d are left, want 2", left)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestWaitHopeless has what no waiting helps with.
func TestWaitHopeless(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "policies: [{match: blocked.*, name: blocked, deny: true}]")
		c := r.client(client.WithTimeout(time.Second))
		_, err := c.Wait(t.Context(), "blocked.k")
		checkError(t, err, `ratelimit: wait "blocked.k": policy "blocked" lets nobody pass, however long they wait: denied by policy`)
		if !errors.Is(err, client.ErrDenied) {
			t.Error("it is not ErrDenied")
		}
		limit := client.WithRate(1, time.Second)
		_, err = c.Wait(t.Context(), "k", limit, client.WithCost(2))
		checkError(t, err, "cost 2 is more than the burst of 1", "ErrCostExceedsBurst")
		_, err = c.Wait(t.Context(), "")
		checkError(t, err, "ratelimit: wait: invalid_key", "ErrInvalidKey")
		_, err = c.Wait(t.Context(), "k", client.WithBurst(1))
		checkError(t, err, `ratelimit: wait "k": invalid_request: burst needs a rate`, "ErrInvalidRequest")
		_, err = c.Wait(t.Context(), "k", client.WithRate(0, 0))
		checkError(t, err, `ratelimit: wait "k": invalid_request: rate: must be at least 1`, "ErrInvalidRequest")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Wait(ctx, "k", limit)
		checkError(t, err, `ratelimit: wait "k": not sent`)

		// One who is behind them is not held up.
		r.store.takes.Store(int64(100 * time.Millisecond))
		var wg sync.WaitGroup
		for i, cost := range []int64{1, 2, 2, 1} {
			wg.Go(func() {
				_, err := c.Wait(t.Context(), "k", limit, client.WithCost(cost))
				if (cost == 1) != (err == nil) {
					t.Errorf("waiter %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()

		// Without a service everybody hears of it at the same time.
		for _, hang := range []bool{true, false} {
			if !hang {
				r.stop()
			}
			r.store.takes.Store(int64(10 * time.Second))
			start := time.Now()
			for range 5 {
				wg.Go(func() {
					if _, err := c.Wait(t.Context(), "k", limit); err == nil || hang != errors.Is(err, client.ErrTimeout) {
						t.Errorf("hangs: %v: %v", hang, err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %s", took)
			}
		}
		synctest.Wait()
		if n := client.Lines(c); n != 0 {
			t.Errorf("%d lines are left", n)
		}
	})
}

// TestWaitReset has a bucket that somebody fills long before it is full by
// itself.
func TestWaitReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		limit := client.WithRate(1, time.Hour)
		if _, err := c.Wait(t.Context(), "k", limit); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(5*time.Minute+time.Second, func() {
			if _, err := c.Reset(t.Context(), "k", limit); err != nil {
				t.Error(err)
			}
		})
		if _, err := c.Wait(t.Context(), "k", limit); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 5*time.Minute+10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestWaitLimits has two limits of the same key, whose lines are not the same.
func TestWaitLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		c := r.client()
		var w waiters
		w.wait(t, c, "a", 0, client.WithRate(1, time.Hour))
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
			defer cancel()
			_, _ = c.Wait(ctx, "k", client.WithRate(1, time.Hour))
		}()
		synctest.Wait()
		w.wait(t, c, "b", 0, client.WithRate(1, time.Minute))
		w.wg.Wait()
		if n := client.Lines(c); n != 1 {
			t.Errorf("there are %d lines, want 1", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestWaitMany has more tokens to be had than one every round trip.
func TestWaitMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "")
		limit := client.WithRate(1000, time.Second)
		var wg sync.WaitGroup
		start := time.Now()
		for g := range 4 {
			c := r.client()
			for range 500 {
				wg.Go(func() {
					if _, err := c.Wait(t.Context(), "k", limit); err != nil {
						t.Error(fmt.Errorf("client %d: %w", g, err))
					}
				})
			}
		}
		wg.Wait()
		if took := time.Since(start); took < time.Second || took > 1200*time.Millisecond {
			t.Errorf("2000 tokens took %s, want 1s", took)
		}
	})
}
