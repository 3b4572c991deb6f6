package denycache_test

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

var traces atomic.Int64

// trace puts random questions about few keys that are much asked for, a little
// apart, to a store and to one with a cache before it. The answers must be the
// same in every field but the source, and the cache must only deny. It fails
// if the cache had nothing to do.
func trace(t *testing.T, plain limitertest.TimedStore, cached *timed) {
	limits := []limiter.Limit{
		{Name: "a", Rate: 5, Interval: time.Second},
		{Name: "a", Rate: 5, Interval: time.Second, Burst: 3}, // a changed
		{Name: "b", Rate: 7, Interval: 3 * time.Second, Burst: 4},
		{Name: "c", Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 3},
		{Name: "d", Algorithm: limiter.LeakyBucket, Rate: 3, Interval: time.Second},
		{Name: "e", Algorithm: limiter.SlidingWindow, Rate: 6, Interval: time.Second},
		{Name: "f", Algorithm: limiter.FixedWindow, Rate: 4, Interval: time.Second},
		{Name: "g", Algorithm: limiter.FixedWindow, Rate: 9, Calendar: limiter.Calendar{Period: "minute"}},
		{Name: "h", Rate: 1_500_000, Interval: time.Second, Burst: 5},
	}
	rules := make([]*limiter.Rule, len(limits))
	for i := range limits {
		rules[i] = limitertest.MustCompile(t, limits[i])
	}
	rapid.Check(t, func(t *rapid.T) {
		run := traces.Add(1)
		mine := rapid.SliceOfN(rapid.SampledFrom(rules), 1, 3).Draw(t, "rules")
		now := limitertest.Epoch.Add(time.Duration(run) * time.Hour)
		var wait time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.Int64Range(0, 3).Draw(t, "us")) * time.Microsecond)
			case 1:
				now = now.Add(max(0, min(wait, time.Second)+time.Duration(rapid.Int64Range(-2, 1).Draw(t, "off"))*time.Microsecond))
			case 2:
				now = now.Add(time.Duration(rapid.Int64Range(0, 400_000).Draw(t, "us")) * time.Microsecond)
			}
			checks := make([]limiter.Check, rapid.SampledFrom([]int{1, 1, 1, 4}).Draw(t, "checks"))
			for i := range checks {
				checks[i] = drawCheck(t, run, mine)
			}
			want, got := make([]limiter.Result, len(checks)), make([]limiter.Result, len(checks))
			if err := plain.TakeAt(t.Context(), now, checks, want); err != nil {
				t.Fatalf("without cache: %v", err)
			}
			if err := cached.TakeAt(t.Context(), now, checks, got); err != nil {
				t.Fatalf("with cache: %v", err)
			}
			for i := range checks {
				if got[i].Source == limiter.SourceDenyCache && got[i].Allowed {
					t.Fatalf("the cache has allowed %+v", checks[i])
				}
				want[i].Source, got[i].Source = limiter.SourceNone, limiter.SourceNone
				if !reflect.DeepEqual(want[i], got[i]) {
					t.Fatalf("check %d of %d at %s: %+v\n without cache %+v\n    with cache %+v", i, len(checks), now, checks[i], want[i], got[i])
				}
				wait = max(wait/2, got[i].RetryAfter()).Truncate(time.Microsecond)
			}
		}
	})
	s := cached.Stats()
	t.Logf("%+v", s)
	if s.Hits < 200 {
		t.Errorf("the cache has answered %d checks, so this says nothing", s.Hits)
	}
}

func drawCheck(t *rapid.T, run int64, rules []*limiter.Rule) limiter.Check {
	for {
		c := limiter.Check{Op: rapid.SampledFrom([]limiter.Op{
			0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, limiter.Refund, limiter.Reset,
		}).Draw(t, "op")}
		for range rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "demands") {
			c.Demands = append(c.Demands, limiter.Demand{
				Key:  fmt.Sprint(run, ".", rapid.IntRange(0, 1).Draw(t, "key")),
				Rule: rapid.SampledFrom(rules).Draw(t, "rule"),
				Cost: rapid.SampledFrom([]int64{0, 1, 1, 1, 2, 3}).Draw(t, "cost"),
			})
		}
		if c.Validate() == nil {
			return c
		}
	}
}

func TestTrace(t *testing.T) {
	trace(t, memstore.New(memstore.Options{}), newTimed(memstore.New(memstore.Options{})))
}
