// Package redisstore keeps buckets in Redis, where every worker sees them.
//
// A [Store] decides a batch of checks with one script call (package lua, file
// take.lua): one round trip, all buckets at one moment, by the clock of Redis.
// The script returns what it saw, and the store replays the rule of
// limiter.Decide on it to give each check of the batch its own exact answer.
// Checks of one bucket become one entry for the script.
//
// # Keys
//
// The bucket of a key under a limit is the string rl:{key}:limit. The braces
// make the key its hash slot in Redis Cluster, so the limits of one key can be
// taken together, all or nothing. Buckets expire when they are full.
//
// # Failures
//
// A script is never run twice for one check, unless Redis has proved that it
// did not run: NOSCRIPT, which heals itself, and READONLY, which a server that
// has just been demoted answers. Everything else is returned at once, for the
// caller to decide what is next (package failover does). After an error a check
// may have been charged, at most once; it was not if the error says so.
//
// The store sets no deadline of its own and honours that of ctx.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// Store is a limiter.Store in Redis. It is safe for concurrent use.
type Store struct {
	decider
	slots bool // buckets of different slots need calls of their own
}

var _ limiter.Store = (*Store)(nil)

// New returns a store with the strategy [Script] that uses rdb, which the caller closes. Use [Open] to
// make one whose settings suit a rate limiter.
func New(rdb redis.UniversalClient) *Store {
	_, cluster := rdb.(*redis.ClusterClient)
	return &Store{decider: newScript(rdb, cluster), slots: cluster}
}

// Take implements limiter.Store. Time is that of Redis.
//
// In Redis Cluster all demands of one check must be of one key; a check whose
// buckets are in different slots is refused with limiter.ErrInvalidCheck.
func (s *Store) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	return s.take(ctx, time.Time{}, checks, results)
}

// TakeAt is Take at a given time, for tests and for stores that refuse TIME in
// scripts. All processes that share buckets must then agree on the time.
func (s *Store) TakeAt(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	return s.take(ctx, now, checks, results)
}

func (s *Store) take(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	err := s.decide(ctx, now, checks, results)
	if err != nil && !errors.Is(err, limiter.ErrInvalidCheck) {
		return fmt.Errorf("redis: %w", err)
	}
	return err
}
