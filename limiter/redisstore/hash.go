package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// hash decides with a read and a write, and nothing that holds them together:
// of callers that read the same bucket at the same time each is granted what
// is there, and the last to write wins. With one caller it is exact.
type hash struct {
	rdb    redis.UniversalClient
	layout layout
}

func (h *hash) decide(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	return eachExchange(h.layout, checks, results, func(e *exchange) error {
		return h.run(ctx, e, now, checks, results)
	})
}

func (h *hash) run(ctx context.Context, e *exchange, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	now, err := e.read(ctx, h.rdb.Pipeline(), now)
	if err != nil {
		return err
	}
	e.decide(checks, results, now)
	pipe := h.rdb.Pipeline()
	if !e.write(ctx, pipe, now) {
		return nil
	}
	_, err = pipe.Exec(ctx)
	return err
}
