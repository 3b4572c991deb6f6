package denycache_test

import (
	"context"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// fakeRedis is a shared store in a bubble: its clock is not that of the
// process, and its answers are under way for a while.
type fakeRedis struct {
	*memstore.Store
	skew        time.Duration
	there, back time.Duration
	source      limiter.Source
	err         error
}

func newFakeRedis() *fakeRedis {
	return &fakeRedis{Store: memstore.New(memstore.Options{}), skew: -1234567 * time.Microsecond, source: limiter.SourceRedis}
}

// now is the time of the store.
func (f *fakeRedis) now() time.Time { return time.Now().Add(f.skew) }

func (f *fakeRedis) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	time.Sleep(f.there)
	defer time.Sleep(f.back)
	if f.err != nil {
		if err := limiter.Prepare(checks, results); err != nil {
			return err
		}
		return f.err
	}
	err := f.TakeAt(ctx, f.now(), checks, results)
	for i := range results {
		if results[i].Source != limiter.SourceNone {
			results[i].Source = f.source
		}
	}
	return err
}

// denies reports whether the store would deny the check at this moment, without
// being asked: what is not denied is put back.
func (f *fakeRedis) denies(t *testing.T, check limiter.Check) bool {
	t.Helper()
	results := make([]limiter.Result, 1)
	if err := f.TakeAt(t.Context(), f.now(), []limiter.Check{check}, results); err != nil {
		t.Fatal(err)
	}
	if results[0].Allowed {
		check.Op = limiter.Refund
		if err := f.TakeAt(t.Context(), f.now(), []limiter.Check{check}, make([]limiter.Result, 1)); err != nil {
			t.Fatal(err)
		}
	}
	return !results[0].Allowed
}

func check(key string, rule *limiter.Rule, cost int64) limiter.Check {
	return limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: cost}}}
}

func take(t *testing.T, store limiter.Store, c limiter.Check) limiter.Result {
	t.Helper()
	results := make([]limiter.Result, 1)
	if err := store.Take(t.Context(), []limiter.Check{c}, results); err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func reset(key string, rule *limiter.Rule) limiter.Check {
	c := check(key, rule, 0)
	c.Op = limiter.Reset
	return c
}

// known asks the cache only.
func known(c *denycache.Cache, check limiter.Check) bool {
	var res limiter.Result
	return c.Known(time.Now(), &check, &res)
}

// deny asks until it is denied.
func deny(t *testing.T, c *denycache.Cache, key string, rule *limiter.Rule) {
	t.Helper()
	take(t, c, check(key, rule, rule.Limit().Burst))
	for range rule.Limit().Burst + 1 {
		if !take(t, c, check(key, rule, 1)).Allowed {
			return
		}
	}
	t.Fatalf("more than the burst was granted")
}

func hourly(t *testing.T) *limiter.Rule {
	return limitertest.MustCompile(t, limiter.Limit{Rate: 3, Interval: time.Hour})
}
