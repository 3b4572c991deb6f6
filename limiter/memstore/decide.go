package memstore

import (
	"hash/maphash"
	"math/bits"

	"github.com/quotaworker/ratelimit/limiter"
)

// group is a few checks that are decided under one set of locks.
//
// What a check costs in a large store is to wait for memory. A processor waits
// for many places at once, if it is told of all of them before it needs the
// first; so a group looks at what it will need before it decides.
type group struct {
	targets [groupSize]target
	n       int
	set     uint64 // shards to lock, a bit each
}

// groupSize is how many demands a group has at most. One check always fits.
const groupSize = 2 * limiter.MaxDemands

// target is the bucket of a demand, and where to find it.
type target struct {
	bucket
	home *shard
}

// decide decides the first few checks, and returns how many.
func (s *Store) decide(checks []limiter.Check, results []limiter.Result, now int64) int {
	var g group
	n := 0
	for n < len(checks) && g.n+len(checks[n].Demands) <= groupSize {
		s.aim(&g, checks[n].Demands)
		n++
	}
	s.lock(g.set)
	if n > 1 {
		g.touch()
	}
	targets := g.targets[:g.n]
	for i := range checks[:n] {
		c := &checks[i]
		decideOne(c, targets[:len(c.Demands)], now, &results[i])
		targets = targets[len(c.Demands):]
	}
	s.unlock(g.set)
	return n
}

// aim adds the buckets of one check.
func (s *Store) aim(g *group, demands []limiter.Demand) {
	for i := range demands {
		d := &demands[i]
		t := &g.targets[g.n]
		t.key, t.name = d.Key, s.names.number(d.Rule.Name())
		if t.name == 0 || len(t.key) > longestKey {
			t.key, t.name = digest(d.Key, d.Rule.Name()), 0
		}
		hash := maphash.String(s.seed, t.key)
		t.tag = tagOf(hash, t.name)
		home := hash >> (64 - shardBits)
		t.home = &s.shards[home]
		g.set |= 1 << home
		g.n++
	}
}

// lock takes locks in the order of the shards, so that two groups can never
// wait for each other.
func (s *Store) lock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Lock()
	}
}

func (s *Store) unlock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Unlock()
	}
}

func (g *group) touch() {
	for i := range g.targets[:g.n] {
		t := &g.targets[i]
		t.home.touchIndex(&t.bucket)
	}
	for i := range g.targets[:g.n] {
		t := &g.targets[i]
		t.home.touch(&t.bucket)
	}
}

// decideOne decides a check under the locks of all its buckets.
func decideOne(c *limiter.Check, targets []target, now int64, res *limiter.Result) {
	var (
		states [limiter.MaxDemands]limiter.State
		finds  [limiter.MaxDemands]found
		stale  uint32 // states to write in any case, a bit each
	)
	for i := range targets {
		t := &targets[i]
		finds[i] = t.home.find(&t.bucket)
		if finds[i].record == nil {
			continue // full
		}
		var old bool
		states[i], old = c.Demands[i].Rule.Open(finds[i].record.mark(), now)
		if old && c.Takes(i) {
			stale |= 1 << i
		}
	}
	before := states
	limiter.Decide(c, states[:len(targets)], now, res)
	res.Source = limiter.SourceMemory
	for i := range targets {
		if states[i] != before[i] || stale&(1<<i) != 0 || c.Op == limiter.Reset {
			t := &targets[i]
			t.home.put(&t.bucket, finds[i], c.Demands[i].Rule.Mark(states[i], now), now)
		}
	}
}
