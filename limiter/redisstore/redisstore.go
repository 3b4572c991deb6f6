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
// With Options.HashTagTokens only the first tokens of the key are in the braces,
// rl:{tenant.acme}.user.42:limit, so that keys which begin alike share a slot.
// Two keys, or two limits, never share a bucket, and canonical keys not even when
// processes differ in that number. But then they have different buckets for the
// same key: who changes the number begins anew with every key of more tokens.
//
// # Slots of Redis Cluster
//
// A script may touch the buckets of one slot only. A batch becomes a call for
// each slot, all sent at once. A check whose own buckets are in several slots
// is taken in turn, see [Store.Take]; inturn.go says how.
//
// # Failures
//
// A script is never run twice for one check, unless Redis has proved that it
// did not run: NOSCRIPT, which heals itself, and READONLY, which a server that
// has just been demoted answers. Everything else is returned at once, for the
// caller to decide what is next (package failover does). After an error a check
// may have been charged, at most once; it was not if the error says so.
//
// The store sets no deadline of its own and honours that of ctx, but see
// [Store.Take] about giving back.
package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// Store is a limiter.Store in Redis. It is safe for concurrent use.
type Store struct {
	decider
	layout layout
}

var _ limiter.Store = (*Store)(nil)

// MaxHashTagTokens is the largest number of hash tag tokens that makes sense: a
// canonical key has no more.
const MaxHashTagTokens = 16

// Options configures a Store. The zero value of a field means its default.
type Options struct {
	// Strategy is how to decide. The default is [Script].
	Strategy Strategy

	// HashTagTokens is how many tokens of a key, from the first, choose its
	// slot in Redis Cluster; a key of fewer is taken whole. 0, the default,
	// and less mean the whole key. All processes that share buckets must have
	// the same number.
	HashTagTokens int

	// Logger is told of a strategy that does not keep limits. Nil discards.
	Logger *slog.Logger
}

// New returns a store with default options that uses rdb, which the caller
// closes. Use [Open] to make one whose settings suit a rate limiter.
func New(rdb redis.UniversalClient) *Store { return NewWithOptions(rdb, Options{}) }

// NewWithOptions is [New] with other options.
func NewWithOptions(rdb redis.UniversalClient, o Options) *Store {
	l := newLayout(rdb, o.HashTagTokens)
	return &Store{decider: newDecider(rdb, l, o), layout: l}
}

// Take implements limiter.Store. Time is that of Redis.
//
// In Redis Cluster a check whose buckets are in several slots is taken in turn,
// and its result says so (InTurn): first all slots are looked at, and if one of
// them denies, so does the check, without having touched anything. Else the
// tokens are taken from each; if somebody was faster at one of them, what the
// others gave is given back, and the check is denied. So
//
//   - no bucket ever admits more than its limit;
//   - a check that is denied may for a moment, two round trips, keep others
//     from tokens that it gives back;
//   - what it gives back lacks what has flowed in during that moment, at most.
//     In windows it lacks everything if the window ended in that moment;
//   - such checks are decided after the others of their batch;
//   - with an error on the way the check is not decided, and what is known to
//     have been taken is given back. Where that fails, the error says so and
//     the tokens are lost, until they flow in again. For giving back Take may
//     overrun the deadline of ctx by 50 ms.
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
	var err error
	if s.layout.anyApart(checks) {
		err = s.takeInTurn(ctx, now, checks, results)
	} else {
		err = s.decide(ctx, now, checks, results)
	}
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}
