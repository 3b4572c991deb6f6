package peerbench

import (
	"context"
	"sync"
	"time"

	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	throttledmem "github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululemem "github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// Memory returns the peers that keep their buckets in this process. The first
// is the one that the others are compared with.
func Memory() []Peer {
	return []Peer{
		{Name: "ours: memstore", Rule: "token bucket", Says: "Rate 5", Open: openMemstore},
		{Name: "x/time/rate, in a map", Rule: "token bucket", Says: "burst 5", Open: openTimeRate},
		{Name: "go-limiter", Rule: "fixed window", Says: "Tokens 5", Open: openGoLimiter},
		{Name: "throttled", Rule: "GCRA", Says: "MaxBurst 4", Open: openThrottledMemory},
		{Name: "ulule/limiter", Rule: "fixed window", Says: "Limit 5", Open: openUluleMemory},
	}
}

func openMemstore(_ Servers, limit Limit) (Allow, func(), error) {
	allow, err := ours(memstore.New(memstore.Options{}), limit)
	return allow, func() {}, err
}

// ours asks a store without anything in between.
func ours(store limiter.Store, limit Limit) (Allow, error) {
	l, err := limiter.New(store, limiter.Limit{Rate: int64(limit.Count), Interval: limit.Period})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		d, err := l.Allow(ctx, key)
		return d.Allowed, err
	}, nil
}

// openTimeRate has a limiter for each key: the library itself has no keys. The
// map is what most programs write around it, and never gets smaller.
func openTimeRate(_ Servers, limit Limit) (Allow, func(), error) {
	var mu sync.RWMutex
	limiters := make(map[string]*rate.Limiter)
	every := rate.Every(limit.Period / time.Duration(limit.Count))
	return func(_ context.Context, key string) (bool, error) {
		mu.RLock()
		l, ok := limiters[key]
		mu.RUnlock()
		if !ok {
			mu.Lock()
			if l, ok = limiters[key]; !ok {
				l = rate.NewLimiter(every, limit.Count)
				limiters[key] = l
			}
			mu.Unlock()
		}
		return l.Allow(), nil
	}, func() {}, nil
}

func openGoLimiter(_ Servers, limit Limit) (Allow, func(), error) {
	store, err := memorystore.New(&memorystore.Config{Tokens: uint64(limit.Count), Interval: limit.Period})
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		_, _, _, ok, err := store.Take(ctx, key)
		return ok, err
	}, func() { _ = store.Close(context.Background()) }, nil
}

func openThrottledMemory(_ Servers, limit Limit) (Allow, func(), error) {
	store, err := throttledmem.NewCtx(0) // 0: as many keys as come
	if err != nil {
		return nil, nil, err
	}
	allow, err := throttledOver(store, limit)
	return allow, func() {}, err
}

// throttledOver takes one off the limit: MaxBurst is what comes on top of the
// first request.
func throttledOver(store throttled.GCRAStoreCtx, limit Limit) (Allow, error) {
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate:  throttled.PerDuration(limit.Count, limit.Period),
		MaxBurst: limit.Count - 1,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		limited, _, err := l.RateLimitCtx(ctx, key, 1)
		return !limited, err
	}, nil
}

func openUluleMemory(_ Servers, limit Limit) (Allow, func(), error) {
	return ululeOver(ululemem.NewStore(), limit), func() {}, nil
}

func ululeOver(store ulule.Store, limit Limit) Allow {
	l := ulule.New(store, ulule.Rate{Limit: int64(limit.Count), Period: limit.Period})
	return func(ctx context.Context, key string) (bool, error) {
		res, err := l.Get(ctx, key) // which takes one
		return !res.Reached, err
	}
}
