package denycache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// timed is a cache before a store whose clock, and its own, can be set.
type timed struct {
	*denycache.Cache
	now atomic.Pointer[time.Time] // nil: the real time
}

func newTimed(store limitertest.TimedStore) *timed {
	c := new(timed)
	c.Cache = denycache.New(shared{store, c}, denycache.Options{Clock: c.clock})
	return c
}

func (c *timed) clock() time.Time {
	if now := c.now.Load(); now != nil {
		return *now
	}
	return time.Now()
}

func (c *timed) TakeAt(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	c.now.Store(&now)
	return c.Take(ctx, checks, results)
}

// shared is a store at the time of a cache, and says that it is shared.
type shared struct {
	limitertest.TimedStore
	cache *timed
}

func (s shared) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	now := s.cache.now.Load()
	var err error
	if now == nil {
		err = s.TimedStore.Take(ctx, checks, results)
	} else {
		err = s.TimedStore.TakeAt(ctx, *now, checks, results)
	}
	for i := range results {
		if results[i].Source != limiter.SourceNone {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}

// TestConformance: a store with a cache before it is a store.
func TestConformance(t *testing.T) {
	limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
		return newTimed(memstore.New(memstore.Options{}))
	})
}

// TestTwin: one that asks through a cache is answered as if there was none.
func TestTwin(t *testing.T) {
	limitertest.Twin(t, memstore.New(memstore.Options{}), newTimed(memstore.New(memstore.Options{})))
}

// TestRedis is both before the store that is meant.
func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = rdb.Close() })
	t.Run("Conformance", func(t *testing.T) {
		limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
			server.MustDo("FLUSHALL")
			return newTimed(redisstore.New(rdb))
		})
	})
	t.Run("Twin", func(t *testing.T) {
		server.MustDo("FLUSHALL")
		limitertest.Twin(t, memstore.New(memstore.Options{}), newTimed(redisstore.New(rdb)))
	})
	t.Run("Trace", func(t *testing.T) {
		server.MustDo("FLUSHALL")
		trace(t, memstore.New(memstore.Options{}), newTimed(redisstore.New(rdb)))
	})
}
