package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// Strategy is a way to decide with Redis. README.md compares them by figures.
// All keep the same buckets under the same names, so a fleet can be moved from
// one to another without losing what was counted.
type Strategy string

const (
	// Script decides inside Redis, in one call per batch. It is exact, the
	// fastest, and the default.
	Script Strategy = "script"

	// Transaction reads, decides in Go and writes if nobody else has written
	// in between (WATCH, MULTI, EXEC); else it begins again. It is exact
	// where scripts are forbidden, and gives up with [ErrContended] when it
	// was overtaken too often.
	Transaction Strategy = "transaction"

	// Hash reads, decides in Go and writes, whatever happened in between. It
	// admits too much as soon as two callers share a key, and is there to
	// show that. Its name is that of the textbook form of it, a Redis hash
	// per bucket; the buckets here are the strings of the others, so that
	// the comparison shows what atomicity is worth and nothing else.
	Hash Strategy = "hash"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Strategy) UnmarshalText(text []byte) error {
	switch Strategy(text) {
	case Script, Transaction, Hash:
		*s = Strategy(text)
		return nil
	}
	return errors.New("must be script, transaction or hash")
}

func newDecider(rdb redis.UniversalClient, l layout, o Options) decider {
	switch o.Strategy {
	case Transaction:
		return &transaction{rdb: rdb, layout: l}
	case Hash:
		if o.Logger != nil {
			o.Logger.Warn("THE REDIS STRATEGY hash IS FOR DEMONSTRATION ONLY: callers that share a key are admitted above the limit; set RATELIMIT_REDIS_STRATEGY=script")
		}
		return &hash{rdb: rdb, layout: l}
	}
	return newScript(rdb, l)
}

// decider decides valid checks, of which each has its buckets in one slot. The
// zero now is the time of Redis.
type decider interface {
	decide(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error
}
