package redisstore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// TestSlotsMove moves slots from node to node while checks run on their
// buckets: nothing is admitted beyond the limit, nothing is charged twice, and
// it all goes on with the same client.
func TestSlotsMove(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	for _, strategy := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction} {
		t.Run(string(strategy), func(t *testing.T) {
			testSlotsMove(t, cluster, strategy)
		})
	}
	t.Run("Conformance of transaction", func(t *testing.T) {
		store := redisstore.NewWithOptions(open(t, cluster.URL()), redisstore.Options{Strategy: redisstore.Transaction})
		limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
			cluster.MustDo("FLUSHALL")
			return store
		})
	})
}

func testSlotsMove(t *testing.T, cluster *redistest.Cluster, strategy redisstore.Strategy) {
	const (
		keys  = 8
		burst = 1_000_000
	)
	_, addrs, _ := strings.Cut(cluster.URL(), "://")
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(addrs, ","), ContextTimeoutEnabled: true, ReadTimeout: time.Minute}) // patient, as the machine may be busy
	t.Cleanup(func() { _ = rdb.Close() })
	store := redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: strategy})
	year := limitertest.MustCompile(t, limiter.Limit{Rate: burst, Interval: limiter.MaxInterval})
	other := limitertest.MustCompile(t, limiter.Limit{Name: "other", Rate: burst, Interval: limiter.MaxInterval})
	key := func(i int) string { return fmt.Sprintf("move.%s.%d", strategy, i%keys) }
	var granted, failed [keys]atomic.Int64
	var single atomic.Int64 // checks of one bucket that failed
	var reasons sync.Map

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := g; ctx.Err() == nil; n++ {
				check := one(key(n), year, 1)
				if g%2 == 0 { // two buckets of one slot, of which one may have moved
					check[0].Demands = append(check[0].Demands, limiter.Demand{Key: key(n), Rule: other, Cost: 1})
				}
				switch res, err := take(store, check); {
				case err != nil:
					failed[n%keys].Add(1)
					reasons.Store(redisstore.Reason(err), err)
					if g%2 == 1 {
						single.Add(1)
					}
				case res.Allowed:
					granted[n%keys].Add(1)
				default:
					t.Errorf("%s was denied: %+v", key(n), res)
				}
			}
		})
	}
	for round := range 3 {
		for i := range keys {
			moveSlot(t, cluster, key(i), round)
		}
	}
	eventually(t, func() error { // everybody has heard of everything
		for i := range 10 * keys {
			if _, err := take(store, one(key(i), year, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	stop()
	wg.Wait()
	total, lost := int64(0), int64(0)
	for i := range keys {
		yes, no := granted[i].Load(), failed[i].Load()
		used := burst - mustTake(t, store, key(i), year, 0).Remaining
		if yes > used || used > yes+no || yes == 0 {
			t.Errorf("%s: %d granted and %d failed, but %d charged", key(i), yes, no, used)
		}
		total, lost = total+yes, lost+no
	}
	t.Logf("%d moves: %d granted, %d failed", 3*keys, total, lost)
	reasons.Range(func(reason, err any) bool {
		t.Logf("one that failed (%s): %v", reason, err)
		if reason != "cluster" && reason != "contended" {
			t.Errorf("a check failed for the reason %q: %v", reason, err)
		}
		return true
	})
	if n := single.Load(); strategy == redisstore.Script && n > 0 {
		t.Errorf("%d checks of one bucket failed, want none", n)
	}
}

// moveSlot moves the slot of a key from the node that has it to the next, as
// redis-cli --cluster reshard does, with time for checks between the steps.
func moveSlot(t *testing.T, cluster *redistest.Cluster, key string, round int) {
	t.Helper()
	ctx := t.Context()
	nodes := make([]*redis.Client, len(cluster.Nodes))
	ids := make([]string, len(nodes))
	for i, n := range cluster.Nodes {
		nodes[i] = redis.NewClient(&redis.Options{Addr: n.Addr})
		defer nodes[i].Close()
		id, err := nodes[i].Do(ctx, "cluster", "myid").Text()
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	must := func(node int, args ...any) *redis.Cmd {
		t.Helper()
		cmd := nodes[node].Do(ctx, args...)
		if cmd.Err() != nil {
			t.Fatalf("%v: %v", args, cmd.Err())
		}
		return cmd
	}
	slot := int(nodes[0].ClusterKeySlot(ctx, key).Val())
	home := 0
	for home < len(nodes)-1 && slot >= 16384*(home+1)/len(nodes) {
		home++
	}
	from, to := (home+round)%len(nodes), (home+round+1)%len(nodes)
	pause := func() { time.Sleep(5 * time.Millisecond) }
	must(to, "cluster", "setslot", slot, "importing", ids[from])
	must(from, "cluster", "setslot", slot, "migrating", ids[to])
	pause()
	host, port, _ := net.SplitHostPort(cluster.Nodes[to].Addr)
	for {
		names, err := must(from, "cluster", "getkeysinslot", slot, 1).StringSlice()
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			break
		}
		must(from, "migrate", host, port, names[0], 0, 5000)
		pause() // some have moved and some not
	}
	must(to, "cluster", "setslot", slot, "node", ids[to])
	pause()
	must(from, "cluster", "setslot", slot, "node", ids[to])
	for i := range nodes {
		if i != from && i != to {
			must(i, "cluster", "setslot", slot, "node", ids[to])
		}
	}
	pause()
}
