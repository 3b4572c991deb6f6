package denycache_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
)

// TestNeverLonger: whatever takes how long, what the cache denies at a moment
// the store would deny at that moment; and it does remember.
func TestNeverLonger(t *testing.T) {
	for _, way := range []struct{ there, back time.Duration }{
		{0, 0}, {time.Millisecond, time.Millisecond}, {30 * time.Millisecond, 0}, {0, 30 * time.Millisecond}, {40 * time.Millisecond, 50 * time.Millisecond},
	} {
		for _, limit := range []limiter.Limit{
			{Rate: 5, Interval: time.Second},
			{Rate: 3, Interval: 2 * time.Second, Algorithm: limiter.LeakyBucket},
			{Rate: 5, Interval: 800 * time.Millisecond, Algorithm: limiter.SlidingWindow},
			{Rate: 5, Interval: 800 * time.Millisecond, Algorithm: limiter.FixedWindow},
		} {
			t.Run(fmt.Sprint(way, limit.Algorithm), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newFakeRedis()
					store.there, store.back = way.there, way.back
					c := denycache.New(store, denycache.Options{})
					rule := limitertest.MustCompile(t, limit)
					one := check("k", rule, 1)
					deny(t, c, "k", rule)
					hits := 0
					for range 3000 {
						time.Sleep(333 * time.Microsecond)
						if !known(c, one) {
							continue
						}
						hits++
						if !store.denies(t, one) {
							t.Fatalf("the cache denies what the store would grant")
						}
					}
					if hits < 50 {
						t.Errorf("%d hits, so this says nothing", hits)
					}
				})
			})
		}
	}
}

// TestEndsExactly: without a way to go, the denial ends on the microsecond, and
// says so all the time.
func TestEndsExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := denycache.New(newFakeRedis(), denycache.Options{})
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 4, Interval: time.Second})
		deny(t, c, "k", rule)
		one := check("k", rule, 1)
		var res limiter.Result
		for left := 250 * time.Millisecond; left > 0; left -= 50 * time.Millisecond {
			if !c.Known(time.Now(), &one, &res) || res.Allowed || res.Source != limiter.SourceDenyCache || res.RetryAfter() != left {
				t.Errorf("%s before the end: got %+v", left, res)
			}
			time.Sleep(50*time.Millisecond - time.Microsecond)
			if !c.Known(time.Now(), &one, &res) {
				t.Errorf("%s before the end: not known", left-50*time.Millisecond+time.Microsecond)
			}
			time.Sleep(time.Microsecond)
		}
		if known(c, one) {
			t.Error("known after its end")
		}
		if res := take(t, c, one); !res.Allowed || res.Source != limiter.SourceRedis {
			t.Errorf("after its end: got %+v, want allowed by Redis", res)
		}
	})
}

// TestLife: nothing is remembered for longer than a second after it was
// decided, so a store that has lost its data is believed again.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeRedis()
		store.back = 10 * time.Millisecond
		c := denycache.New(store, denycache.Options{})
		rule := hourly(t)
		deny(t, c, "k", rule)
		take(t, store, reset("k", rule)) // behind the back of the cache
		time.Sleep(denycache.Life - 21*time.Millisecond)
		if !known(c, check("k", rule, 1)) {
			t.Error("not known a moment before its life ends")
		}
		time.Sleep(time.Millisecond)
		if known(c, check("k", rule, 1)) {
			t.Error("known after its life")
		}
		if res := take(t, c, check("k", rule, 1)); !res.Allowed {
			t.Errorf("got %+v, want what the store says now", res)
		}
	})
}

// TestWhatIsKnown denies three tokens where there are two, and looks who else
// is denied by that.
func TestWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := denycache.New(newFakeRedis(), denycache.Options{})
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 5, Interval: time.Hour})
		same := limitertest.MustCompile(t, limiter.Limit{Rate: 5, Interval: time.Hour})
		changed := limitertest.MustCompile(t, limiter.Limit{Rate: 6, Interval: time.Hour})
		other := limitertest.MustCompile(t, limiter.Limit{Name: "other", Rate: 5, Interval: time.Hour})
		take(t, c, check("k", rule, 3))
		take(t, c, check("k", rule, 3))
		both := func(a, b *limiter.Rule) limiter.Check {
			return limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: a, Cost: 3}, {Key: "k", Rule: b, Cost: 1}}}
		}
		refund := check("k", rule, 3)
		refund.Op = limiter.Refund
		for _, tt := range []struct {
			name  string
			check limiter.Check
			want  bool
		}{
			{"the same", check("k", rule, 3), true},
			{"an equal limit", check("k", same, 3), true},
			{"more", check("k", rule, 5), true},
			{"less", check("k", rule, 2), false},
			{"a look", check("k", rule, 0), false},
			{"another key", check("l", rule, 3), false},
			{"another limit", check("k", other, 3), false},
			{"a changed limit", check("k", changed, 3), false},
			{"a reset", reset("k", rule), false},
			{"a refund", refund, false},
			{"together with a bucket that nobody has seen", both(rule, other), false},
		} {
			if got := known(c, tt.check); got != tt.want {
				t.Errorf("%s: known %t, want %t", tt.name, got, tt.want)
			}
		}
		take(t, c, both(rule, other)) // is denied, and shows both buckets
		var res limiter.Result
		if all := both(rule, other); !c.Known(time.Now(), &all, &res) || len(res.Levels) != 2 || res.Levels[0].Admitted || !res.Levels[1].Admitted {
			t.Errorf("together, seen: %+v", res)
		}
		if known(c, check("k", other, 1)) {
			t.Error("a bucket that did not deny is known to")
		}
	})
}

// TestNotRemembered: only what the shared store has decided is.
func TestNotRemembered(t *testing.T) {
	for _, source := range []limiter.Source{limiter.SourceMemory, limiter.SourcePolicy, limiter.SourceDenyCache} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeRedis()
			store.source = source
			c := denycache.New(store, denycache.Options{})
			deny(t, c, "k", hourly(t))
			if known(c, check("k", hourly(t), 1)) || c.Stats().Entries > 0 {
				t.Errorf("a denial of the source %s is remembered", source)
			}
		})
	}
}

// TestErrors: what is known is answered while the store fails; the error is
// about the others.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, rule := newFakeRedis(), hourly(t)
		c := denycache.New(store, denycache.Options{})
		deny(t, c, "k", rule)
		store.err = errors.New("gone")
		checks := []limiter.Check{check("a", rule, 1), check("k", rule, 1), check("b", rule, 1)}
		results := make([]limiter.Result, 3)
		if err := c.Take(t.Context(), checks, results); err != store.err {
			t.Errorf("got error %v", err)
		}
		for i, want := range []limiter.Source{limiter.SourceNone, limiter.SourceDenyCache, limiter.SourceNone} {
			if results[i].Source != want {
				t.Errorf("check %d: source %s, want %s", i, results[i].Source, want)
			}
		}
		if err := c.Take(t.Context(), checks[1:2], results[1:2]); err != nil {
			t.Errorf("with nothing to ask: %v", err)
		}
		store.err = nil
		if err := c.Take(t.Context(), checks, results); err != nil || !results[0].Allowed || results[1].Allowed || !results[2].Allowed {
			t.Errorf("healed: %+v, %v", results, err)
		}
	})
}

// TestInvalid: a batch that is refused teaches nothing, nobody is told of it, and
// nothing crashes.
func TestInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := denycache.New(newFakeRedis(), denycache.Options{})
		c.OnNotice(func(n denycache.Notice) { t.Errorf("told: %+v", n) })
		for _, bad := range []limiter.Check{{}, reset("k", nil), {Op: 99, Demands: check("k", nil, 1).Demands}, check("k", hourly(t), 9)} {
			if err := c.Take(t.Context(), []limiter.Check{reset("l", hourly(t)), bad}, make([]limiter.Result, 2)); err == nil {
				t.Errorf("%+v: no error", bad)
			}
		}
	})
}

// TestBounded: the cache forgets rather than grow.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rule := denycache.New(newFakeRedis(), denycache.Options{Entries: 64}), hourly(t)
		for i := range 5000 {
			deny(t, c, fmt.Sprint("k", i), rule)
		}
		if got := c.Stats().Entries; got != 64 {
			t.Errorf("%d entries, want 64", got)
		}
		if !known(c, check("k4999", rule, 1)) {
			t.Error("the latest denial has found no room")
		}
		for i := range 5000 {
			take(t, c, reset(fmt.Sprint("k", i), rule))
		}
		if got := c.Stats().Entries; got != 0 {
			t.Errorf("%d entries after all was reset", got)
		}
	})
}

// TestAllocations: a hit allocates nothing.
func TestAllocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, one := denycache.New(newFakeRedis(), denycache.Options{}), check("k", hourly(t), 1)
		deny(t, c, "k", one.Demands[0].Rule)
		var res limiter.Result
		now := time.Now()
		if n := testing.AllocsPerRun(100, func() {
			if !c.Known(now, &one, &res) {
				t.Error("not known")
			}
		}); n > 0 {
			t.Errorf("%.0f allocations", n)
		}
	})
}
