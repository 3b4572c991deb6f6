package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// startStrategies starts a server and returns it with a store of each
// strategy on it, whose client is patient.
func startStrategies(tb testing.TB) (*redistest.Server, map[redisstore.Strategy]*redisstore.Store) {
	tb.Helper()
	server := redistest.Start(tb)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: time.Minute, PoolSize: 64, PoolTimeout: time.Minute})
	tb.Cleanup(func() { _ = rdb.Close() })
	stores := make(map[redisstore.Strategy]*redisstore.Store)
	for _, s := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction, redisstore.Hash} {
		stores[s] = redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: s})
	}
	return server, stores
}

func TestConformanceOfStrategies(t *testing.T) {
	server, stores := startStrategies(t)
	empty := func(s redisstore.Strategy) func(*testing.T) limitertest.TimedStore {
		return func(*testing.T) limitertest.TimedStore {
			server.MustDo("FLUSHALL")
			return stores[s]
		}
	}
	t.Run("Transaction", func(t *testing.T) { limitertest.Run(t, empty(redisstore.Transaction)) })
	t.Run("Hash", func(t *testing.T) { limitertest.RunSingle(t, empty(redisstore.Hash)) })
}

// TestTwinOfStrategies: with one caller all of them decide as memory does, and
// when they take turns on the same buckets too.
func TestTwinOfStrategies(t *testing.T) {
	_, stores := startStrategies(t)
	for _, s := range []redisstore.Strategy{redisstore.Transaction, redisstore.Hash} {
		t.Run(string(s), func(t *testing.T) { limitertest.Twin(t, memstore.New(memstore.Options{}), stores[s]) })
	}
	t.Run("in turn", func(t *testing.T) {
		limitertest.Twin(t, memstore.New(memstore.Options{}), &inTurn{stores: []limitertest.TimedStore{
			stores[redisstore.Script], stores[redisstore.Transaction], stores[redisstore.Script], stores[redisstore.Hash],
		}})
	})
}

// inTurn asks a store after the other.
type inTurn struct {
	limiter.Store
	stores []limitertest.TimedStore
	next   int
}

func (s *inTurn) TakeAt(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	s.next++
	return s.stores[s.next%len(s.stores)].TakeAt(ctx, now, checks, results)
}

// TestMarksOfScript reads what the script has written, for every algorithm,
// and writes the same.
func TestMarksOfScript(t *testing.T) {
	server, stores := startStrategies(t)
	rdb := open(t, server.URL())
	for i, limit := range []limiter.Limit{
		{Rate: 7, Interval: time.Second, Burst: 100},
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000},
		{Algorithm: limiter.LeakyBucket, Rate: 7, Interval: time.Minute, Burst: 30},
		{Algorithm: limiter.SlidingWindow, Rate: 70, Interval: time.Minute},
		{Algorithm: limiter.FixedWindow, Rate: 70, Interval: time.Minute},
		{Algorithm: limiter.FixedWindow, Rate: 70, Calendar: limiter.Calendar{Period: "day", Zone: "Europe/Berlin"}},
	} {
		rule := limitertest.MustCompile(t, limit)
		script, key := stores[redisstore.Script], fmt.Sprint("k", i)
		now := limitertest.Epoch
		for cost := range int64(5) {
			now = now.Add(61234567 * time.Microsecond)
			results := make([]limiter.Result, 1)
			if err := script.TakeAt(t.Context(), now, one(key, rule, cost+1), results); err != nil {
				t.Fatal(err)
			}
			stored := rdb.Get(t.Context(), "rl:{"+key+"}:default").Val()
			mark := limiter.ParseMark(stored)
			if got := mark.String(); got != stored || stored == "" {
				t.Errorf("%s: the script wrote %q, which is %q here", limit, stored, got)
			}
			states := make([]limiter.State, 1)
			states[0], _ = rule.Open(mark, now.UnixMicro())
			if got := rule.Mark(states[0], now.UnixMicro()).String(); got != stored {
				t.Errorf("%s: the script wrote %q and the rule %q", limit, stored, got)
			}
			var seen limiter.Result
			limiter.Decide(&one(key, rule, 0)[0], states, now.UnixMicro(), &seen)
			if got, want := seen.Levels[0].Remaining, results[0].Levels[0].Remaining; got != want {
				t.Errorf("%s: %q has %d left, the script said %d", limit, stored, got, want)
			}
		}
	}
}

// TestOverAdmission lets 64 callers ask for one key that 100 may have. The
// strategies with atomicity admit exactly these, the one without far more.
func TestOverAdmission(t *testing.T) {
	server, stores := startStrategies(t)
	for _, s := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction, redisstore.Hash} {
		server.MustDo("FLUSHALL")
		granted, failed := crowd(t, stores[s], "k", hundred(t), 64, 10)
		t.Logf("%s: %d of 640 admitted, want 100; %d failed", s, granted, failed)
		switch {
		case s == redisstore.Hash && granted <= 100:
			t.Errorf("%s: %d admitted, want more than 100: it has become exact", s, granted)
		case s != redisstore.Hash && (granted != 100 || failed > 0):
			t.Errorf("%s: %d admitted and %d failed, want 100 and none", s, granted, failed)
		}
	}
}

// crowd lets so many callers ask for one token that many times each, and
// counts the answers.
func crowd(tb testing.TB, store limiter.Store, key string, rule *limiter.Rule, callers, each int) (granted, failed int64) {
	tb.Helper()
	var yes, errs atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range callers {
		wg.Go(func() {
			<-begin
			for range each {
				switch res, err := take(store, one(key, rule, 1)); {
				case err != nil:
					errs.Add(1)
				case res.Allowed:
					yes.Add(1)
				}
			}
		})
	}
	close(begin)
	wg.Wait()
	return yes.Load(), errs.Load()
}

// TestContended: somebody else always comes in between. The transaction gives
// up, says so, and has charged nothing.
func TestContended(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(meddler{open(t, server.URL())})
	store := redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: redisstore.Transaction})
	res, err := take(store, one("k", hundred(t), 1))
	if !errors.Is(err, redisstore.ErrContended) || redisstore.Reason(err) != "contended" || res.Source != limiter.SourceNone {
		t.Errorf("%+v, %v; want %v", res, err, redisstore.ErrContended)
	}
	if got := server.MustDo("GET rl:{k}:default"); got != "$6" { // and a line with damage
		t.Errorf("the bucket is %q, want what was put there last", got)
	}
}

// meddler writes to the bucket before every transaction.
type meddler struct{ rdb redis.UniversalClient }

func (m meddler) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (m meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (m meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "multi" {
			if err := m.rdb.Set(ctx, "rl:{k}:default", "damage", 0).Err(); err != nil {
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// TestTransactionExpiry: a bucket lives as long as one of the script.
func TestTransactionExpiry(t *testing.T) {
	server, stores := startStrategies(t)
	rdb := open(t, server.URL())
	for _, limit := range []limiter.Limit{
		{Rate: 1, Interval: time.Hour, Burst: 3},
		{Rate: 3, Interval: time.Second},
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000},
		{Algorithm: limiter.SlidingWindow, Rate: 5, Interval: time.Hour},
		{Algorithm: limiter.FixedWindow, Rate: 5, Calendar: limiter.Calendar{Period: "month"}},
	} {
		rule := limitertest.MustCompile(t, limit)
		for _, s := range []redisstore.Strategy{redisstore.Script, redisstore.Transaction, redisstore.Hash} {
			key := string(s)
			level := mustTake(t, stores[s], key, rule, 1)
			got := rdb.PTTL(t.Context(), "rl:{"+key+"}:default").Val()
			if least := level.ResetAfter + 9*time.Second; got < least || got > least+13*time.Second {
				t.Errorf("%s, %s: lives %s, full in %s, want 10 to 20 seconds more", s, limit, got, level.ResetAfter)
			}
			server.MustDo("FLUSHALL")
		}
	}
}

// TestTransactionReplyLost: the transaction has run and nobody hears of it.
func TestTransactionReplyLost(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	store := redisstore.NewWithOptions(open(t, "redis://"+proxy.Addr), redisstore.Options{Strategy: redisstore.Transaction})
	rule := hundred(t)
	mustTake(t, store, "k", rule, 1)
	proxy.Cut("exec")
	res, err := take(store, one("k", rule, 1))
	if got := redisstore.Reason(err); got != "closed" || res.Source != limiter.SourceNone {
		t.Errorf("reason %q, want closed; %+v, %v", got, res, err)
	}
	proxy.Heal()
	eventually(t, func() error { _, err := take(store, one("k", rule, 0)); return err })
	if got := mustTake(t, store, "k", rule, 0).Remaining; got != 98 {
		t.Errorf("%d of 100 left, want 98: one for each check", got)
	}
}

// TestHashWarns: nobody runs it without being told.
func TestHashWarns(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nobody calls it
	t.Cleanup(func() { _ = rdb.Close() })
	for _, tt := range []struct {
		strategy redisstore.Strategy
		warns    bool
	}{{redisstore.Script, false}, {redisstore.Transaction, false}, {redisstore.Hash, true}, {"", false}} {
		var log bytes.Buffer
		redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: tt.strategy, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "DEMONSTRATION"); got != tt.warns {
			t.Errorf("%q: logs %q", tt.strategy, &log)
		}
	}
	var s redisstore.Strategy
	if err := s.UnmarshalText([]byte("lua")); err == nil || s != "" {
		t.Errorf("a strategy of the name lua: %q, %v", s, err)
	}
}
