package denycache

import (
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quotaworker/ratelimit/limiter"
)

// ways is how many buckets share a place and compete for it.
const ways = 8

// table is a hash table of fixed size: sets of a few entries, each with a lock
// of its own. Sets that were never used have no entries allocated.
type table struct {
	seed maphash.Seed
	mask uint64
	sets []set
	used atomic.Int64 // entries in all sets
}

// set is the entries of the buckets whose hashes end alike.
type set struct {
	used atomic.Int32 // len(entries), to see without the lock that there are none

	mu      sync.Mutex // guards what follows
	entries []entry

	// What was decided until barrier may have been before a refill of some
	// bucket here. That was learned at raised, and matters for one Life.
	barrier int64 // the store's time
	raised  int64 // local time
}

// entry is what a bucket was like when it denied.
type entry struct {
	hash  uint64
	key   string // the cache's own copy
	rule  *limiter.Rule
	mark  limiter.Mark
	asked int  // checks that were looked up
	heard bool // from another cache

	decided int64 // by the store's clock, in microseconds
	lead    int64 // of that clock, see leadOf
}

func newTable(entries int) *table {
	n := uint64(1) << bits.Len64(uint64(max(1, entries/ways)-1))
	return &table{seed: maphash.MakeSeed(), mask: n - 1, sets: make([]set, n)}
}

// hash is that of a key: its limits are in one set, and no more than fit there
// are remembered.
func (t *table) hash(d *limiter.Demand) uint64 { return maphash.String(t.seed, d.Key) }

// find returns the index of a bucket's entry, or -1.
func (s *set) find(hash uint64, d *limiter.Demand) int {
	for i := range s.entries {
		if e := &s.entries[i]; e.hash == hash && e.key == d.Key && (e.rule == d.Rule || e.rule.Name() == d.Rule.Name()) {
			return i
		}
	}
	return -1
}

// view is what somebody who looks up an entry gets to see of it.
type view struct {
	mark    limiter.Mark
	decided int64
	lead    int64
	due     bool // to be shared
}

// look returns what is remembered of a bucket under just this limit.
func (t *table) look(hash uint64, d *limiter.Demand, local int64) (view, bool) {
	s := &t.sets[hash&t.mask]
	if s.used.Load() == 0 {
		return view{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(hash, d)
	if i < 0 {
		return view{}, false
	}
	e := &s.entries[i]
	if e.rule != d.Rule {
		if e.rule.Limit() != d.Rule.Limit() {
			return view{}, false
		}
		e.rule = d.Rule // the same; the next look is quicker
	}
	if !alive(storeTime(local, e.lead), e.decided) {
		return view{}, false
	}
	e.asked++
	return view{e.mark, e.decided, e.lead, e.asked == shareAfter && !e.heard}, true
}

// put remembers a bucket, unless it was refilled since or something later is
// remembered. Key, rule and hash of e are filled in.
func (t *table) put(d *limiter.Demand, e entry, local int64) bool {
	if !alive(storeTime(local, e.lead), e.decided) {
		return false
	}
	e.hash, e.rule = t.hash(d), d.Rule
	s := &t.sets[e.hash&t.mask]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.decided <= s.barrier && local-s.raised < int64(Life) {
		t.removeLocked(s, e.hash, d, e.decided) // it is older still
		return false
	}
	i := s.find(e.hash, d)
	switch {
	case i >= 0:
		if old := &s.entries[i]; old.decided > e.decided || e.heard && old.decided == e.decided {
			return false
		}
		e.key = s.entries[i].key
	case len(s.entries) < ways:
		i = len(s.entries)
		s.entries = append(s.entries, entry{})
		s.used.Add(1)
		t.used.Add(1)
	default:
		i = s.oldest()
	}
	if e.key == "" {
		e.key = strings.Clone(d.Key) // it may be a piece of a whole message
	}
	s.entries[i] = e
	return true
}

// oldest returns the entry that was decided first.
func (s *set) oldest() int {
	first := 0
	for i := range s.entries {
		if s.entries[i].decided < s.entries[first].decided {
			first = i
		}
	}
	return first
}

// forget forgets what was decided about a bucket until that time.
func (t *table) forget(d *limiter.Demand, until int64) {
	hash := t.hash(d)
	s := &t.sets[hash&t.mask]
	if s.used.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.removeLocked(s, hash, d, until)
}

// refill is forget, also of what was decided until then and is not here yet.
func (t *table) refill(d *limiter.Demand, until, local int64) {
	hash := t.hash(d)
	s := &t.sets[hash&t.mask]
	s.mu.Lock()
	defer s.mu.Unlock()
	if local-s.raised >= int64(Life) {
		s.barrier = math.MinInt64
	}
	s.barrier, s.raised = max(s.barrier, until), local
	t.removeLocked(s, hash, d, until)
}

func (t *table) removeLocked(s *set, hash uint64, d *limiter.Demand, until int64) {
	i := s.find(hash, d)
	if i < 0 || s.entries[i].decided > until {
		return
	}
	last := len(s.entries) - 1
	s.entries[i] = s.entries[last]
	s.entries[last] = entry{}
	s.entries = s.entries[:last]
	s.used.Add(-1)
	t.used.Add(-1)
}
