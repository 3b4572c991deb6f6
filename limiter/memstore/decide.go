package memstore

import (
	"hash/maphash"
	"math/bits"

	"github.com/quotaworker/ratelimit/limiter"
)

// target is the bucket of a demand, and what is known of it.
type target struct {
	bucket
	home   *shard
	found  found
	before limiter.State
	stale  bool // its mark must be written in any case
}

// space is what a group of checks is decided in.
//
// What a check costs in a large store is to wait for memory. A processor waits
// for many places at once, if it is told of all of them before it needs the
// first; so a group looks at what it will need before it decides.
type space struct {
	targets []target
	states  []limiter.State
}

// groupSize is how many demands a group has at most. One check always fits.
const groupSize = 2 * limiter.MaxDemands

// decideOne decides a check of one demand. Its space is small because to clear
// it takes time as well.
func (s *Store) decideOne(checks []limiter.Check, results []limiter.Result, now int64) {
	var (
		targets [1]target
		states  [1]limiter.State
	)
	s.decideGroup(space{targets[:], states[:]}, checks, results, now)
}

func (s *Store) decideMany(checks []limiter.Check, results []limiter.Result, now int64) {
	var (
		targets [groupSize]target
		states  [limiter.MaxDemands]limiter.State
	)
	for len(checks) > 0 {
		n, demands := 0, 0
		for n < len(checks) && demands+len(checks[n].Demands) <= groupSize {
			demands += len(checks[n].Demands)
			n++
		}
		s.decideGroup(space{targets[:demands], states[:]}, checks[:n], results[:n], now)
		checks, results = checks[n:], results[n:]
	}
}

// decideGroup decides checks under one set of locks.
func (s *Store) decideGroup(sp space, checks []limiter.Check, results []limiter.Result, now int64) {
	var set uint64 // shards to lock, a bit each
	targets := sp.targets
	for i := range checks {
		for j := range checks[i].Demands {
			set |= 1 << s.aim(&targets[0], &checks[i].Demands[j])
			targets = targets[1:]
		}
	}
	s.lock(set)
	if targets = sp.targets; len(targets) > 1 {
		look(targets)
	}
	for i := range checks {
		n := len(checks[i].Demands)
		decide(&checks[i], targets[:n], sp.states[:n], now, &results[i])
		targets = targets[n:]
	}
	s.unlock(set)
}

// aim finds out which bucket a demand is about, and returns the number of its
// shard.
func (s *Store) aim(t *target, d *limiter.Demand) (home uint64) {
	t.found = found{}
	t.key, t.name = d.Key, s.names.number(d.Rule.Name())
	if t.name == 0 || len(t.key) > longestKey {
		t.key, t.name = digest(d.Key, d.Rule.Name()), 0
	}
	hash := maphash.String(s.seed, t.key)
	t.tag = tagOf(hash, t.name)
	home = hash >> (64 - shardBits)
	t.home = &s.shards[home]
	return home
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

// look has the processor fetch the buckets.
func look(targets []target) {
	for i := range targets {
		targets[i].home.touch(&targets[i].bucket)
	}
	for i := range targets {
		targets[i].found = targets[i].home.guess(&targets[i].bucket)
	}
}

// decide decides a check under the locks of all its buckets.
func decide(c *limiter.Check, targets []target, states []limiter.State, now int64, res *limiter.Result) {
	for i := range targets {
		t := &targets[i]
		t.before, t.stale = limiter.State{}, false
		if t.found = t.home.find(&t.bucket, &t.found); t.found.record != nil {
			t.before, t.stale = c.Demands[i].Rule.Open(t.found.record.mark(), now)
		}
		states[i] = t.before
	}
	limiter.Decide(c, states, now, res)
	res.Source = limiter.SourceMemory
	for i := range targets {
		t := &targets[i]
		if states[i] != t.before || t.stale && c.Takes(i) || c.Op == limiter.Reset {
			t.home.put(&t.bucket, t.found, c.Demands[i].Rule.Mark(states[i], now), now)
		}
	}
}
