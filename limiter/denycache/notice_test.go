package denycache_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// fleet is caches before one store; what one tells is on its way to the others,
// and to itself, for delay.
func fleet(n int, store *fakeRedis, delay time.Duration) []*denycache.Cache {
	all := make([]*denycache.Cache, n)
	for i := range all {
		all[i] = denycache.New(store, denycache.Options{})
		all[i].OnNotice(func(n denycache.Notice) {
			for _, c := range all {
				time.AfterFunc(delay, func() { c.Hear(n) })
			}
		})
	}
	return all
}

// settle lets what is under way arrive.
func settle() { time.Sleep(time.Millisecond); synctest.Wait() }

// TestRefills: a reset and a refund count at once for who did it, and as soon
// as it is heard of for others.
func TestRefills(t *testing.T) {
	for _, op := range []limiter.Op{limiter.Reset, limiter.Refund} {
		synctest.Test(t, func(t *testing.T) {
			rule := hourly(t)
			caches := fleet(3, newFakeRedis(), time.Millisecond)
			refill := check("k", rule, 1)
			refill.Op = op
			for _, c := range caches {
				deny(t, c, "k", rule)
			}
			take(t, caches[0], refill)
			if known(caches[0], check("k", rule, 1)) {
				t.Errorf("op %d: the cache that did it goes by what was before", op)
			}
			if !known(caches[1], check("k", rule, 1)) {
				t.Errorf("op %d: another one has heard of it too soon, or the test says nothing", op)
			}
			settle()
			for i, c := range caches {
				if known(c, check("k", rule, 1)) {
					t.Errorf("op %d: cache %d goes by what was before", op, i)
				}
			}
			deny(t, caches[1], "k", rule)
			if !known(caches[1], check("k", rule, 1)) {
				t.Errorf("op %d: what is denied after it is not remembered", op)
			}
		})
	}
}

// TestLateDenial: a denial that was decided before a reset and arrives after
// the notice of it is not remembered; one that was decided after it is.
func TestLateDenial(t *testing.T) {
	for _, tt := range []struct {
		name        string
		there, back time.Duration
		want        bool
	}{
		{"decided before the reset", 0, 20 * time.Millisecond, false},
		{"sent before the reset, decided after it", 20 * time.Millisecond, 0, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, rule := newFakeRedis(), hourly(t)
			far := &fakeRedis{Store: near.Store, skew: near.skew, source: near.source, there: tt.there, back: tt.back}
			here, there := denycache.New(near, denycache.Options{}), denycache.New(far, denycache.Options{})
			here.OnNotice(there.Hear)
			take(t, near, check("k", rule, 3))
			done := make(chan bool)
			go func() { done <- take(t, there, check("k", rule, 1)).Allowed }()
			time.Sleep(10 * time.Millisecond)
			take(t, here, reset("k", rule))
			take(t, near, check("k", rule, 3))
			if <-done {
				t.Errorf("%s: allowed, so this says nothing", tt.name)
			}
			if got := known(there, check("k", rule, 1)); got != tt.want {
				t.Errorf("%s: known %t, want %t", tt.name, got, tt.want)
			}
		})
	}
}

// TestRefillBeside: a denial that must not be remembered, because a bucket that
// shares its place was refilled, still ends what was known before it.
func TestRefillBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rule := denycache.New(newFakeRedis(), denycache.Options{Entries: 1}), hourly(t)
		changed := limitertest.MustCompile(t, limiter.Limit{Rate: 2, Interval: time.Hour})
		take(t, c, check("k", rule, 3))
		checks := []limiter.Check{check("k", rule, 1), reset("else", rule), check("k", changed, 1)}
		if err := c.Take(t.Context(), checks, make([]limiter.Result, 3)); err != nil {
			t.Fatal(err)
		}
		// To the changed limit the bucket was emptier than empty, and it has
		// written down what it could make of it.
		if known(c, check("k", rule, 1)) || known(c, check("k", changed, 1)) {
			t.Error("known by what was before the limit was changed")
		}
	})
}

// TestRefillUnknown: of a reset that the store did not answer nobody knows when
// it was; what is known goes all the same.
func TestRefillUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, rule := newFakeRedis(), hourly(t)
		caches := fleet(2, store, time.Millisecond)
		for _, c := range caches {
			deny(t, c, "k", rule)
		}
		store.err = context.DeadlineExceeded
		if err := caches[0].Take(t.Context(), []limiter.Check{reset("k", rule)}, make([]limiter.Result, 1)); err == nil {
			t.Fatal("no error")
		}
		settle()
		for i, c := range caches {
			if known(c, check("k", rule, 1)) {
				t.Errorf("cache %d goes by what was before", i)
			}
		}
		caches[1].Hear(denycache.Notice{Refilled: true, Key: "k", Limit: rule.Limit(), At: math.MaxInt64})
		store.err = nil
		deny(t, caches[1], "k", rule)
		if known(caches[1], check("k", rule, 1)) {
			t.Error("remembered, though a reset may be under way")
		}
		time.Sleep(denycache.Life)
		deny(t, caches[1], "k", rule)
		if !known(caches[1], check("k", rule, 1)) {
			t.Error("not remembered, though what was said about a reset is long past")
		}
	})
}

// TestShares: a denial that is asked for again and again is told to the others,
// once, and ends there when it ends here.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeRedis()
		caches := fleet(3, store, 2*time.Millisecond)
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 2, Interval: time.Second})
		one := check("k", rule, 1)
		take(t, caches[1], check("else", rule, 1)) // it has seen the clock; cache 2 has not
		deny(t, caches[0], "k", rule)
		for i := range 50 {
			if !known(caches[0], one) {
				t.Fatalf("hit %d: not known", i)
			}
		}
		if known(caches[1], one) {
			t.Error("known before it was heard")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !known(caches[1], one) || known(caches[2], one) {
			t.Error("heard by one that has never seen the store's clock, or by none")
		}
		for range 50 {
			known(caches[1], one)
		}
		var res limiter.Result
		caches[1].Known(time.Now(), &one, &res)
		if got, want := res.RetryAfter(), 498*time.Millisecond; got != want {
			t.Errorf("2 ms later there is %s to wait, want %s", got, want)
		}
		time.Sleep(want(t, res.RetryAfter()))
		if !known(caches[1], one) || !store.denies(t, one) {
			t.Error("not known a microsecond before its end")
		}
		time.Sleep(time.Microsecond)
		if known(caches[1], one) || store.denies(t, one) {
			t.Error("known after its end")
		}
		if a, b := caches[0].Stats(), caches[1].Stats(); a.Shared != 1 || a.Heard != 1 || b.Shared != 0 || b.Heard != 1 {
			t.Errorf("told and heard: %+v, %+v; want once, by everybody, and not passed on", a, b)
		}
	})
}

// want is a microsecond less than d.
func want(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	if d <= 0 {
		t.Fatal("nothing to wait for")
	}
	return d - time.Microsecond
}

// TestSharesOnlyWhatLasts: what is over at once is not worth a message.
func TestSharesOnlyWhatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caches := fleet(2, newFakeRedis(), time.Millisecond)
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 100, Interval: time.Second})
		deny(t, caches[0], "k", rule)
		for range 100 {
			known(caches[0], check("k", rule, 1))
		}
		if s := caches[0].Stats(); s.Hits != 100 || s.Shared != 0 {
			t.Errorf("%+v; want 100 hits and nothing told", s)
		}
	})
}

// TestHearsNoNonsense: what cannot be true changes nothing.
func TestHearsNoNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, rule := newFakeRedis(), hourly(t)
		c := denycache.New(store, denycache.Options{})
		now := store.now().UnixMicro()
		good := denycache.Notice{Key: "k", Limit: rule.Limit(), Mark: rule.Mark(limiter.State{3 * 1200_000_000}, now), At: now}
		hear := func(change func(*denycache.Notice)) bool {
			n := good
			change(&n)
			c.Hear(n)
			defer c.Hear(denycache.Notice{Refilled: true, Key: "k", Limit: rule.Limit(), At: n.At})
			return known(c, check("k", rule, 1))
		}
		if hear(func(*denycache.Notice) {}) {
			t.Error("known, though the clock of the store is not")
		}
		take(t, c, check("else", rule, 1))
		for name, change := range map[string]func(*denycache.Notice){
			"decided in the future": func(n *denycache.Notice) { n.At++ },
			"long past":             func(n *denycache.Notice) { n.At -= denycache.Life.Microseconds() },
			"before time":           func(n *denycache.Notice) { n.At = math.MinInt64 },
			"after time":            func(n *denycache.Notice) { n.At = math.MaxInt64 },
			"no limit":              func(n *denycache.Notice) { n.Limit = limiter.Limit{} },
			"a full bucket":         func(n *denycache.Notice) { n.Mark = limiter.Mark{} },
			"nobody's mark":         func(n *denycache.Notice) { n.Mark = limiter.ParseMark("f1:2") },
		} {
			if hear(change) {
				t.Errorf("%s: known", name)
			}
			time.Sleep(denycache.Life) // what was said of refills is past
			good.At = store.now().UnixMicro()
			good.Mark = rule.Mark(limiter.State{3 * 1200_000_000}, good.At)
		}
		if !hear(func(*denycache.Notice) {}) {
			t.Error("what can be true is not known, so the rest says nothing")
		}
	})
}

// FuzzHear: whatever is heard, nothing crashes and nothing is denied for longer
// than a Life.
func FuzzHear(f *testing.F) {
	f.Add("default", int64(3), int64(3_600_000_000), int64(3), "token_bucket", "", "1763712001000000", int64(0))
	f.Add("w", int64(6), int64(1_000_000), int64(6), "sliding_window", "", "w1763712000000000:1000000:6:6", int64(-5))
	f.Add("f", int64(2), int64(0), int64(2), "fixed_window", "month", "f1764720000000000:9", int64(-999999))
	f.Add("m", int64(1), int64(31_622_400_000_000), int64(200), "leaky_bucket", "", "9999999999999999999:7m", int64(1))
	f.Fuzz(func(t *testing.T, name string, rate, interval, burst int64, algorithm, period, mark string, off int64) {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeRedis()
			c := denycache.New(store, denycache.Options{})
			take(t, c, check("else", hourly(t), 1))
			limit := limiter.Limit{Name: name, Rate: rate, Interval: time.Duration(interval) * time.Microsecond, Burst: burst, Algorithm: algorithm, Calendar: limiter.Calendar{Period: period}}
			c.Hear(denycache.Notice{Key: "k", Limit: limit, Mark: limiter.ParseMark(mark), At: store.now().UnixMicro() + off})
			rule, err := limit.Compile()
			if err != nil {
				return
			}
			for _, cost := range []int64{1, rule.Limit().Burst} {
				one := check("k", rule, cost)
				var res limiter.Result
				if c.Known(time.Now(), &one, &res) && (res.Allowed || res.RetryAfter() <= 0) {
					t.Errorf("an answer that is none: %+v", res)
				}
			}
			time.Sleep(denycache.Life)
			if known(c, check("k", rule, rule.Limit().Burst)) {
				t.Error("denied for longer than a life")
			}
		})
	})
}

// TestConcurrent has everybody do everything. Who resets a key of their own is
// granted what they ask next, whatever the others do.
func TestConcurrent(t *testing.T) {
	store := shared{memstore.New(memstore.Options{}), new(timed)}
	caches := []*denycache.Cache{denycache.New(store, denycache.Options{Entries: 32}), denycache.New(store, denycache.Options{Entries: 32})}
	for i, c := range caches {
		c.OnNotice(caches[1-i].Hear)
	}
	rule := hourly(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, own := caches[i%2], fmt.Sprint("own", i)
			for range 300 {
				deny(t, c, own, rule)
				deny(t, c, "everybody's", rule)
				take(t, c, reset(own, rule))
				if known(c, check(own, rule, 1)) || !take(t, c, check(own, rule, 1)).Allowed {
					t.Error("denied after a reset")
				}
				known(caches[1-i%2], check("everybody's", rule, 1))
				c.Stats()
			}
		})
	}
	wg.Wait()
	for _, c := range caches {
		if s := c.Stats(); s.Hits == 0 || s.Shared == 0 || s.Heard == 0 {
			t.Errorf("%+v: not everything was done", s)
		}
	}
}
