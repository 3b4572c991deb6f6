package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// threeSlots are keys that three nodes of a cluster have, one each.
var threeSlots = [3]string{"user.3", "ip.4", "endpoint.3"}

// all makes a check of one token of each key.
func all(rule *limiter.Rule, keys ...string) []limiter.Check {
	var c limiter.Check
	for _, key := range keys {
		c.Demands = append(c.Demands, limiter.Demand{Key: key, Rule: rule, Cost: 1})
	}
	return []limiter.Check{c}
}

// TestInTurn is about checks over several slots of a real cluster.
func TestInTurn(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	rdb := open(t, cluster.URL())
	for i, key := range threeSlots {
		if got := int(rdb.ClusterKeySlot(t.Context(), key).Val()) * 3 / 16384; got != i {
			t.Fatalf("%s is on node %d, want %d", key, got, i)
		}
	}
	t.Run("Twin", func(t *testing.T) { testInTurnTwin(t, rdb) })
	for _, s := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction} {
		t.Run("Race of "+string(s), func(t *testing.T) {
			cluster.MustDo("FLUSHALL")
			wide, err := redisstore.Open(redisstore.Config{URL: cluster.URL(), Timeout: time.Minute, PoolSize: 128}) // nobody waits for a connection
			if err != nil {
				t.Fatal(err)
			}
			defer wide.Close()
			testInTurnRace(t, redisstore.NewWithOptions(wide, redisstore.Options{Strategy: s}), s == redisstore.Transaction)
		})
	}
	t.Run("Batch", func(t *testing.T) {
		cluster.MustDo("FLUSHALL")
		testInTurnBatch(t, redisstore.New(rdb))
	})
	t.Run("RoundTrips", func(t *testing.T) {
		cluster.MustDo("FLUSHALL")
		testInTurnRoundTrips(t, cluster)
	})
	t.Run("Overtaken", func(t *testing.T) {
		cluster.MustDo("FLUSHALL")
		testInTurnOvertaken(t, cluster, rdb)
	})
	t.Run("HashTag", func(t *testing.T) {
		cluster.MustDo("FLUSHALL")
		testHashTag(t, rdb)
	})
	t.Run("NodeGone", func(t *testing.T) {
		cluster.MustDo("FLUSHALL")
		testInTurnNodeGone(t, cluster)
	})
}

// testInTurnTwin: with one caller it all is as if it were one server.
func testInTurnTwin(t *testing.T, rdb redis.UniversalClient) {
	for _, s := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction} {
		store := &oneByOne{TimedStore: redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: s})}
		limitertest.Twin(t, memstore.New(memstore.Options{}), store)
		if store.inTurn == 0 {
			t.Errorf("%s: nothing was taken in turn", s)
		}
	}
}

// oneByOne asks for one check at a time, because those that are taken in turn
// are decided after the others of a batch.
type oneByOne struct {
	limitertest.TimedStore
	inTurn int
}

func (s *oneByOne) TakeAt(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	for i := range checks {
		if err := s.TimedStore.TakeAt(ctx, now, checks[i:i+1], results[i:i+1]); err != nil {
			return err
		}
		if results[i].InTurn {
			s.inTurn++
		}
	}
	return nil
}

// testInTurnRace: 64 callers want a token of three buckets each, of which one is
// small. No bucket admits more than it has, and nothing is lost but what flows
// in while tokens are held, which is nothing: these buckets take a year. Only
// the strategy that locks optimistically may fail, because its callers keep
// each other from their buckets, and then lose what it held.
func testInTurnRace(t *testing.T, store *redisstore.Store, mayFail bool) {
	const small, large = 40, 1000
	year := limiter.MaxInterval
	rules := [3]*limiter.Rule{
		limitertest.MustCompile(t, limiter.Limit{Rate: large, Interval: year}),
		limitertest.MustCompile(t, limiter.Limit{Algorithm: limiter.FixedWindow, Rate: large, Interval: year}),
		limitertest.MustCompile(t, limiter.Limit{Rate: small, Interval: year}),
	}
	var granted, failed atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			var c limiter.Check
			for i, key := range threeSlots {
				c.Demands = append(c.Demands, limiter.Demand{Key: key, Rule: rules[i], Cost: 1})
			}
			<-begin
			for range 3 {
				switch res, err := take(store, []limiter.Check{c}); {
				case err != nil:
					failed.Add(1)
					if reason := redisstore.Reason(err); !mayFail || reason != "contended" && reason != "pool" && reason != "timeout" { // five seconds are not always enough
						t.Errorf("failed: %v", err)
					}
				case !res.InTurn || res.Source != limiter.SourceRedis || len(res.Levels) != 3:
					t.Errorf("got %+v, want levels of three buckets taken in turn", res)
				case res.Allowed:
					granted.Add(1)
				case res.Levels[2].Admitted || !res.Levels[0].Admitted || res.RetryAfter() == 0:
					t.Errorf("denied with %+v, want that of the small bucket and a time to wait", res.Levels)
				}
			}
		})
	}
	close(begin)
	wg.Wait()
	n := granted.Load()
	t.Logf("%d granted, %d failed", n, failed.Load())
	if n > small || n == 0 {
		t.Errorf("%d granted, want at most %d", n, small)
	}
	// A bucket that refills by the clock may lack what flows in during a moment,
	// of which all there is to see is that the last token is not quite whole.
	for i, have := range []int64{large, large, small} {
		left := mustTake(t, store, threeSlots[i], rules[i], 0).Remaining
		most := have - n
		if least := most - 1 - 3*failed.Load(); left > most || left < least || i == 1 && left != most && failed.Load() == 0 {
			t.Errorf("%s has %d of %d left after %d were granted", threeSlots[i], left, have, n)
		}
	}
}

// testInTurnBatch: in a batch the first get what there is, the others hear what
// is left, and nobody takes what has to be given back.
func testInTurnBatch(t *testing.T, store *redisstore.Store) {
	hundred, three := hundred(t), limitertest.MustCompile(t, limiter.Limit{Rate: 3, Interval: limiter.MaxInterval})
	checks := make([]limiter.Check, 10)
	for i := range checks {
		checks[i] = all(hundred, threeSlots[0], threeSlots[1])[0]
		checks[i].Demands = append(checks[i].Demands, limiter.Demand{Key: threeSlots[2], Rule: three, Cost: 1})
	}
	checks = append(checks, one(threeSlots[0], hundred, 1)...)
	checks = append(checks, limiter.Check{Op: limiter.Refund, Demands: all(hundred, "refunded.1", "refunded.2")[0].Demands})
	results := make([]limiter.Result, len(checks))
	if err := store.Take(t.Context(), checks, results); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		res := &results[i]
		if res.Allowed != (i < 3) || res.Levels[2].Admitted != (i < 3) || !res.Levels[0].Admitted || !res.InTurn || res.At == 0 {
			t.Errorf("check %d: %+v", i, res)
		}
		if want := int64(99 - min(i+1, 3)); res.Levels[0].Remaining != want {
			t.Errorf("check %d: %d left, want %d", i, res.Levels[0].Remaining, want)
		}
	}
	if res := results[10]; !res.Allowed || res.InTurn || res.Levels[0].Remaining != 99 {
		t.Errorf("a check of one slot: %+v", res)
	}
	if res := results[11]; !res.Allowed || !res.InTurn || res.Levels[1].Remaining != 100 {
		t.Errorf("a refund: %+v", res)
	}
	if got := mustTake(t, store, threeSlots[1], hundred, 0).Remaining; got != 97 {
		t.Errorf("%d left, want 97", got)
	}
}

// testInTurnRoundTrips: a denial costs one, and a grant two.
func testInTurnRoundTrips(t *testing.T, cluster *redistest.Cluster) {
	rdb := open(t, cluster.URL())
	var trips counter
	rdb.AddHook(&trips)
	store := redisstore.New(rdb)
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: limiter.MaxInterval})
	if _, err := take(store, all(rule, "warm.1", "warm.2", "warm.3")); err != nil { // loads the script
		t.Fatal(err)
	}
	for i, want := range []int64{2, 1} {
		trips.n.Store(0)
		if res, err := take(store, all(rule, threeSlots[:]...)); err != nil || res.Allowed != (want == 2) {
			t.Errorf("check %d: %+v, %v", i, res, err)
		}
		if got := trips.n.Load(); got != want {
			t.Errorf("check %d: %d round trips, want %d", i, got, want)
		}
	}
}

// counter counts pipelines.
type counter struct{ n atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// testInTurnOvertaken: somebody is always faster, so what was taken elsewhere is
// given back, each time.
func testInTurnOvertaken(t *testing.T, cluster *redistest.Cluster, rdb redis.UniversalClient) {
	second := open(t, cluster.URL())
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 5, Interval: limiter.MaxInterval})
	second.AddHook(&thief{store: redisstore.New(rdb), check: one(threeSlots[2], rule, 5)})
	store := redisstore.New(second)
	for i := range 3 {
		if i > 0 {
			cluster.Nodes[2].MustDo("FLUSHALL")
		}
		res, err := take(store, all(rule, threeSlots[:]...))
		if err != nil || res.Allowed || res.Levels[2].Admitted || !res.Levels[0].Admitted || res.RetryAfter() == 0 {
			t.Errorf("race %d: %+v, %v; want a denial by the third", i, res, err)
		}
	}
	for _, key := range threeSlots[:2] {
		level := mustTake(t, redisstore.New(rdb), key, rule, 0)
		if level.ResetAfter > 3*time.Second || level.Remaining < 4 {
			t.Errorf("%s lacks %s to be full, want at most the moments in which it was held", key, level.ResetAfter)
		}
	}
}

// thief takes the last tokens before every second pipeline, which is the one that
// takes what the first has looked at.
type thief struct {
	store *redisstore.Store
	check []limiter.Check
	n     int
}

func (h *thief) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *thief) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *thief) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.n++; h.n%3 == 2 { // look, take, give back
			if res, err := take(h.store, h.check); err != nil || !res.Allowed {
				return fmt.Errorf("nothing to steal: %+v, %v", res, err)
			}
		}
		return next(ctx, cmds)
	}
}

// testHashTag: keys that begin alike are taken at one moment.
func testHashTag(t *testing.T, rdb redis.UniversalClient) {
	store := redisstore.NewWithOptions(rdb, redisstore.Options{HashTagTokens: 2})
	for _, tt := range []struct {
		keys []string
		want bool // in turn
	}{
		{[]string{"tenant.acme.user.1", "tenant.acme.ip.2", "tenant.acme"}, false},
		{[]string{"tenant.acme.user.1", "tenant.zeta.user.1"}, true},
	} {
		res, err := take(store, all(hundred(t), tt.keys...))
		if err != nil || !res.Allowed || res.InTurn != tt.want {
			t.Errorf("%q: %+v, %v; want in turn %t", tt.keys, res, err, tt.want)
		}
	}
	if got := rdb.Exists(t.Context(), "rl:{tenant.acme}.user.1:default", "rl:{tenant.acme}:default").Val(); got != 2 {
		t.Errorf("%d of two buckets are there", got)
	}
}

// testInTurnNodeGone: a node is gone when it is looked at, and then when it is
// taken from. The check is not decided, and what the others gave is back.
func testInTurnNodeGone(t *testing.T, cluster *redistest.Cluster) {
	rdb := open(t, cluster.URL())
	store, rule := redisstore.New(rdb), hundred(t)
	checks, results := all(rule, threeSlots[:]...), make([]limiter.Result, 1)
	if err := store.Take(t.Context(), checks, results); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a busy machine has to get through the look
		defer cancel()
		return store.Take(ctx, checks, results)
	}
	rdb.AddHook(&vandal{proxy: cluster.Proxies[1]})
	for _, tt := range []struct {
		gone string
		back bool
	}{{"between look and take", true}, {"from the look on", false}} {
		err := ask()
		if redisstore.Reason(err) != "timeout" || results[0].Source != limiter.SourceNone || strings.Contains(err.Error(), "was given back") != tt.back {
			t.Errorf("gone %s: %+v, %v; want a timeout, and given back %t", tt.gone, results[0], err, tt.back)
		}
	}
	cluster.Proxies[1].Heal()
	eventually(t, func() error { _, err := take(store, one(threeSlots[1], rule, 0)); return err })
	for _, key := range threeSlots {
		// 99, less what has flowed in meanwhile.
		if got := mustTake(t, store, key, rule, 0).Remaining; got < 98 || got > 99 {
			t.Errorf("%s has %d left, want 98 or 99", key, got)
		}
	}
	if err := ask(); err != nil || !results[0].Allowed || results[0].Source != limiter.SourceRedis {
		t.Errorf("healed: %+v, %v", results[0], err)
	}
}

// vandal cuts a node off before the second pipeline.
type vandal struct {
	proxy *redistest.Proxy
	n     int
}

func (h *vandal) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *vandal) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *vandal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.n++; h.n == 2 {
			h.proxy.BlackHole()
		}
		return next(ctx, cmds)
	}
}
