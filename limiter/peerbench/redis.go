package peerbench

import (
	"context"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
	gostore "github.com/sethvargo/go-redisstore"
	throttledredis "github.com/throttled/throttled/v2/store/goredisstore.v9"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
)

// Redis returns the peers that keep their buckets in Redis and ask it
// themselves. The first is the one that the others are compared with.
func Redis() []Peer {
	return []Peer{
		{Name: "redis_rate", Rule: "GCRA", Says: "Burst 5", Open: openRedisRate},
		{Name: "throttled", Rule: "GCRA", Says: "MaxBurst 4", Open: openThrottledRedis},
		{Name: "ulule/limiter", Rule: "fixed window", Says: "Limit 5", Open: openUluleRedis},
		{Name: "go-limiter (go-redisstore)", Rule: "fixed window", Says: "Tokens 5", Open: openGoRedisStore},
		{Name: "ours: redisstore, a call per check", Rule: "token bucket", Says: "Rate 5", Open: openRedisstore},
		{Name: "ours: redisstore behind batch", Rule: "token bucket", Says: "Rate 5", Open: openBatch},
	}
}

const (
	poolSize = 32          // connections, for everybody
	patience = time.Minute // a busy machine is not an outage
)

// dial makes the go-redis client of one peer.
func dial(at Servers) (redis.UniversalClient, func()) {
	rdb := redis.NewClient(&redis.Options{
		Addr: at.Redis, PoolSize: poolSize, PoolTimeout: patience, ReadTimeout: patience,
		MaxRetries: -1, // a script that is sent twice is charged twice
	})
	return rdb, func() { _ = rdb.Close() }
}

func openRedisRate(at Servers, limit Limit) (Allow, func(), error) {
	rdb, done := dial(at)
	l, rule := redis_rate.NewLimiter(rdb), redis_rate.Limit{Rate: limit.Count, Burst: limit.Count, Period: limit.Period}
	return func(ctx context.Context, key string) (bool, error) {
		res, err := l.Allow(ctx, key, rule)
		return err == nil && res.Allowed > 0, err
	}, done, nil
}

func openThrottledRedis(at Servers, limit Limit) (Allow, func(), error) {
	rdb, done := dial(at)
	store, err := throttledredis.NewCtx(rdb, "throttled:")
	if err != nil {
		return nil, nil, err
	}
	allow, err := throttledOver(store, limit)
	return allow, done, err
}

func openUluleRedis(at Servers, limit Limit) (Allow, func(), error) {
	rdb, done := dial(at)
	store, err := ululeredis.NewStore(rdb)
	if err != nil {
		return nil, nil, err
	}
	return ululeOver(store, limit), done, nil
}

// openGoRedisStore brings a pool of its own: the one that gostore.New makes
// keeps no idle connection, so that every check would dial, and fails instead
// of waiting when a hundred are in use.
func openGoRedisStore(at Servers, limit Limit) (Allow, func(), error) {
	store, err := gostore.NewWithPool(&gostore.Config{Tokens: uint64(limit.Count), Interval: limit.Period}, &redigo.Pool{
		MaxActive: poolSize, MaxIdle: poolSize, Wait: true,
		Dial: func() (redigo.Conn, error) { return redigo.Dial("tcp", at.Redis) },
	})
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		_, _, _, ok, err := store.Take(ctx, key)
		return ok, err
	}, func() { _ = store.Close(context.Background()) }, nil
}

func openRedisstore(at Servers, limit Limit) (Allow, func(), error) {
	rdb, done := dial(at)
	allow, err := ours(redisstore.New(rdb), limit)
	return allow, done, err
}

// openBatch lets callers wait for their check in a batch, as a worker does for
// those that ask over NATS.
func openBatch(at Servers, limit Limit) (Allow, func(), error) {
	rule, err := limiter.Limit{Rate: int64(limit.Count), Interval: limit.Period}.Compile()
	if err != nil {
		return nil, nil, err
	}
	rdb, done := dial(at)
	batcher := batch.New(redisstore.New(rdb), batch.Options{})
	items := sync.Pool{New: func() any {
		return &waiting{check: limiter.Check{Demands: make([]limiter.Demand, 1)}, done: make(chan struct{}, 1)}
	}}
	return func(_ context.Context, key string) (bool, error) {
			w := items.Get().(*waiting)
			defer items.Put(w)
			w.check.Demands[0] = limiter.Demand{Key: key, Rule: rule, Cost: 1}
			if _, err := batcher.Submit(w); err != nil {
				return false, err
			}
			<-w.done
			return w.allowed, w.err
		}, func() {
			_ = batcher.Close(context.Background())
			done()
		}, nil
}

// waiting is a check that its caller waits for.
type waiting struct {
	check   limiter.Check
	done    chan struct{}
	allowed bool
	err     error
}

func (w *waiting) Check() *limiter.Check { return &w.check }
func (w *waiting) Deadline() time.Time   { return time.Time{} }
func (w *waiting) Done(res *limiter.Result, err error) {
	w.allowed, w.err = err == nil && res.Allowed, err
	w.done <- struct{}{}
}
