// Package memstore keeps buckets in the memory of one process.
//
// It is the store of the all-in-one mode and what answers while Redis is
// gone. Its buckets are shared with nobody and are lost on restart.
//
// Memory is bounded: a [Store] holds at most Options.Keys buckets. When there
// is no room for another, buckets that are full again go first, which loses
// nothing, because a bucket that is not stored counts as full. Only when the
// store looks and finds none does it drop a bucket that is still filling, of
// those it looked at the one that is nearest to full; [Stats] counts these.
//
// There is no goroutine and no timer. A bucket refills by arithmetic when
// somebody asks for it.
package memstore

import (
	"context"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// DefaultKeys is the default of Options.Keys: a million buckets whose keys have
// 25 bytes take about 200 MB (BenchmarkMemory).
const DefaultKeys = 1_000_000

// Options configures a Store. The zero value of a field means its default.
type Options struct {
	// Keys is how many buckets the store holds at most, DefaultKeys if zero
	// or negative. The bound is kept per shard, so a store may begin to drop
	// buckets when it is not quite full.
	Keys int
}

// Store is a limiter.Store in memory. It is safe for concurrent use.
type Store struct {
	start  time.Time // has a monotonic reading, so the clock of the store never jumps
	seed   maphash.Seed
	shards [shardCount]shard
}

var _ limiter.Store = (*Store)(nil)

// shardCount is a power of two: enough that the cores of one machine seldom
// wait for each other.
const shardCount = 64

// New returns an empty store.
func New(o Options) *Store {
	if o.Keys <= 0 {
		o.Keys = DefaultKeys
	}
	s := &Store{start: time.Now(), seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].marks = make(map[bucket]stored)
		s.shards[i].room = max(1, o.Keys/shardCount)
	}
	return s
}

// Take implements limiter.Store. It never blocks for long and ignores ctx.
func (s *Store) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	return s.TakeAt(ctx, s.start.Add(time.Since(s.start)), checks, results)
}

// TakeAt is Take at a given time. Tests and simulations pass their own; it
// should not be mixed with Take on one store, whose clock is the real one.
func (s *Store) TakeAt(_ context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	us := now.UnixMicro()
	for i := range checks {
		s.decide(&checks[i], us, &results[i])
		results[i].Source = limiter.SourceMemory
	}
	return nil
}

// Stats describes a store.
type Stats struct {
	// Keys is how many buckets are stored now, full ones that nobody has
	// asked for since among them.
	Keys int
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
		st.Keys += len(sh.marks)
		st.Evicted += sh.evicted
		sh.mu.Unlock()
	}
	return st
}

// decide decides one check under the locks of all its buckets.
func (s *Store) decide(c *limiter.Check, now int64, res *limiter.Result) {
	var (
		states [limiter.MaxDemands]limiter.State
		homes  [limiter.MaxDemands]*shard
		stale  uint32 // states to write in any case, a bit each
		set    uint64 // shards to lock, a bit each
	)
	for i := range c.Demands {
		h := maphash.String(s.seed, c.Demands[i].Key) % shardCount
		homes[i] = &s.shards[h]
		set |= 1 << h
	}
	// All locks are taken in the order of the shards, so that two checks can
	// never wait for each other.
	for rest := set; rest != 0; rest &= rest - 1 {
		s.shards[bits.TrailingZeros64(rest)].mu.Lock()
	}
	for i := range c.Demands {
		d := &c.Demands[i]
		var old bool
		states[i], old = d.Rule.Open(homes[i].marks[bucketOf(d)].mark, now)
		if old && c.Takes(i) {
			stale |= 1 << i
		}
	}
	before := states
	limiter.Decide(c, states[:len(c.Demands)], now, res)
	for i := range c.Demands {
		if states[i] != before[i] || stale&(1<<i) != 0 || c.Op == limiter.Reset {
			d := &c.Demands[i]
			homes[i].putLocked(bucketOf(d), d.Rule.Mark(states[i], now), now)
		}
	}
	for rest := set; rest != 0; rest &= rest - 1 {
		s.shards[bits.TrailingZeros64(rest)].mu.Unlock()
	}
}

// bucket names a bucket.
type bucket struct{ key, limit string }

func bucketOf(d *limiter.Demand) bucket { return bucket{d.Key, d.Rule.Name()} }

// stored is a bucket that is not full.
type stored struct {
	mark limiter.Mark
	key  string // the store's own copy
}

// shard holds the buckets of some keys.
type shard struct {
	mu      sync.Mutex // guards what follows
	marks   map[bucket]stored
	evicted uint64
	room    int // how many marks fit; constant
}

// putLocked stores the mark of a bucket, or forgets it when it is full.
func (sh *shard) putLocked(b bucket, m limiter.Mark, now int64) {
	if m == (limiter.Mark{}) {
		delete(sh.marks, b)
		return
	}
	// The key may be a piece of a whole message, which must not stay alive.
	// A map takes over the key of every assignment, so also of an update.
	if old, ok := sh.marks[b]; ok {
		b.key = old.key
	} else {
		sh.makeRoomLocked(now)
		b.key = strings.Clone(b.key)
	}
	sh.marks[b] = stored{m, b.key}
}

// makeRoomLocked looks at a few marks, in the random order of a map, and
// drops those that are in the past. On a full shard it drops at least one.
func (sh *shard) makeRoomLocked(now int64) {
	look := 2 // more than one for each that comes, so that the past runs out
	full := len(sh.marks) >= sh.room
	if full {
		look = 32
	}
	var nearest bucket
	nearestAt, dropped := int64(0), false
	for b, s := range sh.marks {
		at := s.mark.Until
		if at <= now {
			delete(sh.marks, b)
			dropped = true
		} else if nearestAt == 0 || at < nearestAt {
			nearest, nearestAt = b, at
		}
		if look--; look == 0 {
			break
		}
	}
	if full && !dropped {
		delete(sh.marks, nearest)
		sh.evicted++
	}
}
