package redisstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.startGlobalTimeCache.func1"))
}

// open returns a client with the settings of production.
func open(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	rdb, err := redisstore.Open(redisstore.Config{URL: url, Timeout: time.Minute}) // patient: the machine may be busy
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// start starts a server and returns it with a store on it whose client is as
// patient as a test on a busy machine has to be.
func start(tb testing.TB, args ...string) (*redistest.Server, *redisstore.Store) {
	tb.Helper()
	server := redistest.Start(tb, args...)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: time.Minute})
	tb.Cleanup(func() { _ = rdb.Close() })
	return server, redisstore.New(rdb)
}

// hundred is a limit of 100 that does not refill while a test runs.
func hundred(tb testing.TB) *limiter.Rule {
	return limitertest.MustCompile(tb, limiter.Limit{Rate: 100, Interval: limiter.MaxInterval})
}

func one(key string, rule *limiter.Rule, cost int64) []limiter.Check {
	return []limiter.Check{{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: cost}}}}
}

// take decides one check within five seconds.
func take(store limiter.Store, checks []limiter.Check) (limiter.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	results := make([]limiter.Result, len(checks))
	err := store.Take(ctx, checks, results)
	return results[0], err
}

func mustTake(tb testing.TB, store limiter.Store, key string, rule *limiter.Rule, cost int64) limiter.Level {
	tb.Helper()
	res, err := take(store, one(key, rule, cost))
	if err != nil || res.Source != limiter.SourceRedis {
		tb.Fatalf("Take: %+v, %v", res, err)
	}
	return res.Levels[0]
}

// eventually calls f until it returns no error, for at most ten seconds, and
// returns how long that took.
func eventually(tb testing.TB, f func() error) time.Duration {
	tb.Helper()
	from := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(from)
		}
		if time.Since(from) > 10*time.Second {
			tb.Fatalf("still after 10 s: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestConformance(t *testing.T) {
	server, store := start(t)
	limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
		server.MustDo("FLUSHALL")
		return store
	})
}

// TestTwin holds the script in Redis and the rule in Go together.
func TestTwin(t *testing.T) {
	_, store := start(t)
	limitertest.Twin(t, memstore.New(memstore.Options{}), store)
}

// TestCluster runs everything that needs one on the same cluster.
func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	store := redisstore.New(open(t, cluster.URL()))
	t.Run("Conformance", func(t *testing.T) {
		limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
			cluster.MustDo("FLUSHALL")
			return store
		})
	})
	t.Run("BatchOverManySlots", func(t *testing.T) { testManySlots(t, cluster, store) })
	t.Run("ReplyLost", func(t *testing.T) { testReplyLost(t, cluster.URL(), cluster.Proxies...) })
	t.Run("NodeGone", func(t *testing.T) { testNodeGone(t, cluster, store) })
}

// testManySlots: batches over hundreds of slots are decided as memory does.
func testManySlots(t *testing.T, cluster *redistest.Cluster, store *redisstore.Store) {
	cluster.MustDo("FLUSHALL")
	twin := memstore.New(memstore.Options{})
	rules := []*limiter.Rule{
		limitertest.MustCompile(t, limiter.Limit{Rate: 3, Interval: time.Minute}),
		limitertest.MustCompile(t, limiter.Limit{Name: "day", Rate: 5, Interval: 24 * time.Hour}),
	}
	rng, now := rand.New(rand.NewPCG(1, 2)), limitertest.Epoch
	for range 20 {
		now = now.Add(time.Duration(rng.IntN(10_000)) * time.Millisecond)
		checks := make([]limiter.Check, 256)
		for i := range checks {
			key := fmt.Sprint("user.", rng.IntN(300))
			for _, rule := range rules[:1+rng.IntN(2)] {
				checks[i].Demands = append(checks[i].Demands, limiter.Demand{Key: key, Rule: rule, Cost: int64(rng.IntN(3))})
			}
		}
		got, want := make([]limiter.Result, len(checks)), make([]limiter.Result, len(checks))
		if err := store.TakeAt(t.Context(), now, checks, got); err != nil {
			t.Fatal(err)
		}
		if err := twin.TakeAt(t.Context(), now, checks, want); err != nil {
			t.Fatal(err)
		}
		for i := range checks {
			want[i].Source = limiter.SourceRedis
			if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
				t.Fatalf("check %d, %+v:\n got %+v\nwant %+v", i, checks[i], got[i], want[i])
			}
		}
	}
	for _, n := range cluster.Nodes {
		if reply := n.MustDo("DBSIZE"); reply == ":0" {
			t.Errorf("node %s got no bucket: the batch did not spread", n.Addr)
		}
	}
}

// testNodeGone: while one node is unreachable the buckets of the others are
// still decided, and the error says so of the rest.
func testNodeGone(t *testing.T, cluster *redistest.Cluster, store *redisstore.Store) {
	rule := hundred(t)
	checks := make([]limiter.Check, 256)
	for i := range checks {
		checks[i] = one(fmt.Sprint("gone.", i), rule, 1)[0]
	}
	results := make([]limiter.Result, len(checks))
	ask := func() (decided int, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		err = store.Take(ctx, checks, results)
		for i := range results {
			if results[i].Source == limiter.SourceRedis {
				decided++
			}
		}
		return decided, err
	}
	if n, err := ask(); n != 256 || err != nil {
		t.Fatalf("with all nodes: %d of 256 decided, %v", n, err)
	}
	cluster.Proxies[1].BlackHole()
	n, err := ask()
	if n < 100 || n > 230 || redisstore.Reason(err) != "timeout" {
		t.Errorf("with a node gone: %d of 256 decided, %v; want about two thirds, and a timeout", n, err)
	}
	cluster.Proxies[1].Heal()
	eventually(t, func() error { _, err := ask(); return err })
}
