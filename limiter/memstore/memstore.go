// Package memstore keeps buckets in the memory of one process.
//
// It is the store of the all-in-one mode and what answers while Redis is
// gone. Its buckets are shared with nobody and are lost on restart.
//
// # Memory
//
// Memory is bounded: a [Store] holds at most Options.Keys buckets. When there
// is no room for another, buckets that are full again go first, which loses
// nothing, because a bucket that is not stored counts as full. Only when the
// store looks and finds none does it drop a bucket that is still filling, of
// those it looked at the one that is nearest to full; [Stats] counts these.
// The store looks at a few buckets whenever it stores one, so that it becomes
// small again after a rush, and never at all of them.
//
// A bucket takes the bytes of its key and about 27 more: 12 for itself, 10 to
// 13 to be found and what rounding costs. That is for a token bucket, a leaky
// one, or a fixed window (4 more); the two counters of a sliding window are 12
// to 24 more. A key of more than 255 bytes takes 32.
//
// The memory has no pointers in it, so the garbage collector has nothing to do
// for it, and it grows by the piece: no check waits while the store is copied.
//
// # Identity
//
// The store keeps whole keys and compares them, so two keys never share a
// bucket. A fingerprint of 16 bytes instead of the key would be as small for a
// key of 16 bytes, and it would be as safe as its hash: with 10 million keys
// and 128 good bits a collision has a probability of 2^-83. But the one fast
// keyed hash of the standard library, hash/maphash, has 64 bits, with which it
// is 1 in 370,000; it promises nothing against somebody who looks for collisions; and
// two of them with different seeds are not known to be independent. Here it only says
// where to look. Keys of more than 255 bytes, and keys under more than the
// first 4096 names of limits, are kept as their SHA-256, which is public and
// has no known collision.
//
// There is no goroutine and no timer. A bucket refills by arithmetic when
// somebody asks for it.
package memstore

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// DefaultKeys is the default of Options.Keys: a million buckets whose keys have
// 25 bytes take about 52 MB (BenchmarkMemory).
const DefaultKeys = 1_000_000

// Options configures a Store. The zero value of a field means its default.
type Options struct {
	// Keys is how many buckets the store holds at most, DefaultKeys if zero
	// or negative, and never more than 2^32. The bound is kept per shard, so
	// a store may begin to drop buckets when it is not quite full.
	Keys int
}

// Store is a limiter.Store in memory. It is safe for concurrent use.
type Store struct {
	start  time.Time // has a monotonic reading, so the clock of the store never jumps
	seed   maphash.Seed
	names  names
	shards [shardCount]shard
}

var _ limiter.Store = (*Store)(nil)

// shardCount is a power of two: enough that the cores of one machine seldom
// wait for each other, and no more than a set of them has bits.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// New returns an empty store.
func New(o Options) *Store {
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	s := &Store{start: time.Now(), seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i] = shard{
			index: newIndex(),
			room:  min(max(1, o.Keys/shardCount), 1<<numberBits),
			seed:  s.seed,
		}
	}
	return s
}

// Take implements limiter.Store. It never blocks for long and ignores ctx.
func (s *Store) Take(_ context.Context, checks []limiter.Check, results []limiter.Result) error {
	return s.take((s.start.UnixNano()+int64(time.Since(s.start)))/1e3, checks, results)
}

// TakeAt is Take at a given time. Tests and simulations pass their own; it
// should not be mixed with Take on one store, whose clock is the real one.
func (s *Store) TakeAt(_ context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	return s.take(now.UnixMicro(), checks, results)
}

func (s *Store) take(now int64, checks []limiter.Check, results []limiter.Result) error {
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	if len(checks) == 1 && len(checks[0].Demands) == 1 {
		s.decideOne(checks, results, now)
	} else {
		s.decideMany(checks, results, now)
	}
	return nil
}

// Stats describes a store.
type Stats struct {
	// Keys is how many buckets are stored now, full ones that nobody has
	// asked for since among them.
	Keys int
	// Bytes is how much memory they take, room for a few more included.
	Bytes int
	// Evicted counts buckets that were dropped while they were still
	// filling. Each may have let its key through up to what it lacked.
	Evicted uint64
}

// Stats counts the buckets. It takes each lock in turn.
func (s *Store) Stats() Stats {
	var st Stats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		st.Keys += sh.n
		st.Bytes += sh.bytes()
		st.Evicted += sh.evicted
		sh.mu.Unlock()
	}
	return st
}
