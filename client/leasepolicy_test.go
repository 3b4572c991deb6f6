package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

const leasePolicies = `
policies:
  - {match: free.*, name: free, unlimited: true}
  - {match: blocked.*, name: blocked, deny: true}
  - {match: shadow.*, name: shadow, limits: 100/h, mode: shadow}
  - {match: queue.*, name: queue, limits: {q: {rate: 10, interval: 1s, burst: 5, algorithm: leaky_bucket}}}
  - {match: two.*, name: two, limits: {second: 1000/s, hour: 5000/h}}
  - {match: user.*, name: users, limits: 1000/h}
`

// use takes tokens one by one, n of them, each after a pause.
func use(t *testing.T, l *client.Lease, n int, pause time.Duration) {
	t.Helper()
	for i := range n {
		if taken := take(t, l, 1); !taken.Allowed {
			t.Fatalf("take %d: %+v", i, taken)
		}
		time.Sleep(pause)
	}
}

// TestLeaseUncounted has answers that charged nothing that all workers share:
// tokens are taken ahead as ever, and never given back.
func TestLeaseUncounted(t *testing.T) {
	for _, tt := range []struct {
		key      string
		degraded bool
		asks     int64 // of the store, at most
	}{
		{"free.k", false, 0},
		{"shadow.k", false, 30},
		{"user.k", true, 30},
	} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, leasePolicies)
			c := r.client()
			r.store.degraded.Store(tt.degraded)
			if !tt.degraded {
				// The bucket of shadow.k is empty from the beginning.
				if _, err := c.Check(t.Context(), tt.key, client.WithCost(100)); err != nil {
					t.Fatal(err)
				}
			}
			l := r.lease(c, tt.key)
			use(t, l, 500, 100*time.Microsecond)
			if l.Held() == 0 {
				t.Errorf("%s: nothing is held", tt.key)
			}
			if n := r.store.asks.Load(); n > tt.asks {
				t.Errorf("%s: %d checks, want at most %d", tt.key, n, tt.asks)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if n := r.store.refunds.Load(); n != 0 {
				t.Errorf("%s: %d refunds", tt.key, n)
			}
		})
	}
}

// TestLeaseDenyPolicy has a denial without an end.
func TestLeaseDenyPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, leasePolicies)
		l := r.lease(r.client(), "blocked.k")
		for range 100 {
			if taken := take(t, l, 1); taken != (client.Taken{}) {
				t.Fatalf("got %+v, want a denial", taken)
			}
		}
		if err := r.book.Load("test.yaml", []byte("policies: [{match: blocked.*, limits: 5/s}]"), "2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(client.DefaultHoldTime)
		if !take(t, l, 1).Allowed {
			t.Error("a changed policy is not noticed")
		}
	})
}

// TestLeaseLeaky has a limit that spaces its callers, as the second of them
// finds out: each is told for how long to wait, those who ask together too.
func TestLeaseLeaky(t *testing.T) {
	inline := []client.LeaseOption{client.WithRate(10, time.Second), client.WithBurst(5), client.WithAlgorithm("leaky_bucket")}
	for key, opts := range map[string][]client.LeaseOption{"queue.k": nil, "inline": inline} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, leasePolicies)
			c := r.client()
			l := r.lease(c, key, opts...)
			var delays sync.Map
			var wg sync.WaitGroup
			if taken := take(t, l, 1); taken != (client.Taken{Allowed: true}) {
				t.Errorf("%s, the first: %+v", key, taken)
			}
			for range 4 {
				wg.Go(func() {
					taken := take(t, l, 1)
					if !taken.Allowed {
						t.Errorf("%s: %+v", key, taken)
					}
					delays.Store(taken.Delay, true)
				})
			}
			wg.Wait()
			for _, want := range []time.Duration{100, 200, 300, 400} {
				if _, ok := delays.Load(want * time.Millisecond); !ok {
					t.Errorf("%s: nobody is to wait for %d ms", key, want)
				}
			}
			if taken := take(t, l, 1); taken.Allowed || taken.RetryAfter != 100*time.Millisecond {
				t.Errorf("%s, full: %+v", key, taken)
			}
			if n := l.Held(); n != 0 {
				t.Errorf("%s: %d are held", key, n)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := l.Take(t.Context(), 1); !errors.Is(err, client.ErrLeaseClosed) {
				t.Errorf("%s: after Close: %v", key, err)
			}
		})
	}
}

// TestLeasePolicyChanged gives tokens back to the bucket they came from, or to
// none.
func TestLeasePolicyChanged(t *testing.T) {
	for _, changed := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, leasePolicies)
			c := r.client()
			// The limit that comes along says nothing where there is a policy.
			l := r.lease(c, "user.k", client.WithRate(7, time.Minute))
			use(t, l, 100, 100*time.Microsecond)
			if l.Held() == 0 {
				t.Fatal("nothing is held")
			}
			want := int64(900)
			if changed {
				if err := r.book.Load("test.yaml", []byte("policies: [{match: user.*, name: others, limits: 100/h}, {match: old.*, name: users, limits: 1000/h}]"), "2"); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Check(t.Context(), "user.k", client.WithCost(60)); err != nil {
					t.Fatal(err)
				}
				want = r.left(c, "user.k")
			}
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if left := r.left(c, "user.k"); left != want {
				t.Errorf("changed: %v: %d are left, want %d", changed, left, want)
			}
		})
	}
}

// TestLeaseLimits has a key with two limits: what has come back to one of them
// by itself is not given back to the other either.
func TestLeaseLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, leasePolicies)
		c := r.client()
		l := r.lease(c, "two.k", client.WithHoldTime(time.Minute))
		use(t, l, 200, 100*time.Microsecond)
		held := l.Held()
		res, err := c.Peek(t.Context(), "two.k")
		if err != nil || held == 0 || res.Limits[1].Remaining+held > 4801 {
			t.Fatalf("%d are held: %+v, %v", held, res, err)
		}
		time.Sleep(2 * time.Second)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := r.store.refunds.Load(); n != 0 {
			t.Errorf("%d refunds, when the bucket per second was full long since", n)
		}
	})
}

// TestLeaseMaxHeld bounds what is taken ahead.
func TestLeaseMaxHeld(t *testing.T) {
	for _, most := range []int64{0, 1, 10} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, leasePolicies)
			l := r.lease(r.client(), "user.k", client.WithMaxHeld(most))
			seen := int64(0)
			for range 500 {
				take(t, l, 1)
				seen = max(seen, l.Held())
				time.Sleep(100 * time.Microsecond)
			}
			if seen > most || seen < most/2 {
				t.Errorf("it held %d, want up to %d", seen, most)
			}
			if taken := take(t, l, 100); !taken.Allowed {
				t.Errorf("more at once than it holds: %+v", taken)
			}
		})
	}
}

// TestLeaseAway has a service that goes away: what is held is spent, then
// there are errors, and when the service is back it goes on.
func TestLeaseAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, leasePolicies)
		c := r.client()
		l := r.lease(c, "user.k")
		use(t, l, 500, 100*time.Microsecond)
		r.stop()
		held := l.Held()
		if held == 0 {
			t.Fatal("nothing is held")
		}
		use(t, l, int(held), 0)
		for range 3 {
			_, err := l.Take(t.Context(), 1)
			checkError(t, err, `ratelimit: check "user.k": unavailable: no workers listen`, "ErrUnavailable", "ErrNoWorkers")
		}
		r.start()
		use(t, l, 200, 100*time.Microsecond)

		// What cannot be given back is lost, and Close says so.
		r.stop()
		if l.Held() == 0 {
			t.Fatal("nothing is held")
		}
		checkError(t, l.Close(t.Context()), "no workers listen", "ErrUnavailable", "ErrNoWorkers")
	})
}

// TestLeaseNotPermitted has a user who may take and not give back.
func TestLeaseNotPermitted(t *testing.T) {
	srv := startServer(t, server.Options{Users: []*server.User{
		{Username: "worker", Password: "pw"},
		{Username: "app", Password: "pw", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"ratelimit.refund.>"}}}},
	}})
	serve(t, srv, func(msg *nats.Msg) {
		_ = msg.Respond(wire.AppendReply(nil, &wire.Reply{Allowed: true, Limit: 1000, Remaining: 900, ResetAfterMS: 360_000, WindowMS: 3_600_000, Source: "redis"}))
	}, nats.UserInfo("worker", "pw"))
	c, err := client.New(connect(t, srv, nats.UserInfo("app", "pw")), client.WithTimeout(50*time.Millisecond), client.WithoutBatching())
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lease(t.Context(), "k", client.WithHoldTime(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	hold := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); l.Held() == 0; take(t, l, 1) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is held")
			}
		}
	}
	hold()
	time.Sleep(200 * time.Millisecond) // until they were not given back
	hold()
	checkError(t, l.Close(t.Context()), `Permissions Violation for Publish to "ratelimit.refund.k"`, "ErrUnavailable", "ErrPermission")
}

// TestLeaseHangs has a service that does not answer.
func TestLeaseHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, leasePolicies)
		c := r.client(client.WithTimeout(300 * time.Millisecond))
		l := r.lease(c, "user.k")
		r.store.takes.Store(int64(time.Minute))
		start := time.Now()
		_, err := l.Take(t.Context(), 1)
		checkError(t, err, "no answer", "ErrTimeout")
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("Take returned after %s", took)
		}

		// Close ends those who wait, and what it waits for ends with ctx.
		done := make(chan error)
		go func() {
			_, err := l.Take(context.Background(), 1)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		_ = l.Close(ctx)
		if err := <-done; !errors.Is(err, client.ErrLeaseClosed) {
			t.Errorf("who waited got %v", err)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("Close returned after %s", took)
		}
		time.Sleep(3 * time.Minute) // the store
	})
}

// TestLeaseRefuses has leases that cannot be, and tokens that cannot be taken.
func TestLeaseRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, leasePolicies)
		c := r.client()
		limit := client.WithRate(10, time.Second)
		for _, tt := range []struct {
			key  string
			opts []client.LeaseOption
			is   string
			want string
		}{
			{"", nil, "ErrInvalidKey", "the key is empty"},
			{"k", nil, "ErrNoPolicy", "no limit applies to this key"},
			{"k", []client.LeaseOption{limit, client.WithCost(1)}, "ErrInvalidRequest", `ratelimit: lease "k": invalid_request: cost: a lease has none; say it with each Take`},
			{"k", []client.LeaseOption{limit, client.WithHoldTime(0)}, "ErrInvalidRequest", `ratelimit: lease "k": invalid_request: hold time: 0s is not between 1ms and 1m`},
			{"k", []client.LeaseOption{limit, client.WithHoldTime(time.Hour)}, "ErrInvalidRequest", "hold time: 1h0m0s is not between 1ms and 1m"},
			{"k", []client.LeaseOption{limit, client.WithMaxHeld(-1)}, "ErrInvalidRequest", "max held: -1 must not be negative"},
			{"k", []client.LeaseOption{client.WithRate(0, 0)}, "ErrInvalidRequest", "rate: must be at least 1"},
			{"k", []client.LeaseOption{client.WithPolicy("gold")}, "ErrUnknownPolicy", "gold"},
		} {
			l, err := c.Lease(t.Context(), tt.key, tt.opts...)
			if l != nil {
				t.Errorf("%s: got a lease", tt.want)
			}
			checkError(t, err, tt.want, tt.is)
		}
		l := r.lease(c, "k", limit)
		for _, n := range []int64{0, -1, 1<<53 + 1, -1 << 63, 1<<63 - 1} {
			_, err := l.Take(t.Context(), n)
			checkError(t, err, "must be between 1 and 2^53 tokens", "ErrInvalidRequest")
		}
		_, err := l.Take(t.Context(), 11)
		checkError(t, err, "cost 11 is more than the burst of 10", "ErrCostExceedsBurst")

		// One who asks for too much does not take others along.
		r.store.takes.Store(int64(10 * time.Millisecond))
		var wg sync.WaitGroup
		for _, n := range []int64{1, 11, 2, 1 << 53, 1 << 53, 3} {
			wg.Go(func() {
				taken, err := l.Take(t.Context(), n)
				if n > 10 && !errors.Is(err, client.ErrCostExceedsBurst) || n <= 10 && !taken.Allowed {
					t.Errorf("Take(%d) = %+v, %v", n, taken, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// TestLeaseAllocations keeps what is done for each call free of them.
func TestLeaseAllocations(t *testing.T) {
	r := newRig(t, "policies: [{match: free.*, unlimited: true}, {match: blocked.*, deny: true}]")
	for _, key := range []string{"free.k", "blocked.k"} {
		l := r.lease(r.client(), key, client.WithHoldTime(time.Minute))
		for range 100_000 { // until there are more tokens than are used below
			take(t, l, 1)
		}
		for deadline := time.Now().Add(10 * time.Second); key == "free.k" && l.Held() < 1000; take(t, l, 1) {
			if time.Now().After(deadline) {
				t.Fatalf("only %d are held", l.Held())
			}
		}
		ctx := t.Context()
		if n := testing.AllocsPerRun(100, func() { _, _ = l.Take(ctx, 1) }); n != 0 {
			t.Errorf("%s: %v allocations", key, n)
		}
	}
}
