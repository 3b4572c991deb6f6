// Package denycache remembers denials until they end, so that a key which is
// far over its limit costs the shared store next to nothing.
//
// A [Cache] stands before a store. When the shared store (limiter.SourceRedis)
// denies a check, the cache keeps what the buckets of the check were like, and
// answers a later check by the rule of limiter.Decide on that, as of the later
// time: its answer is the one the store would give if nobody else had asked in
// between. It only ever denies. What it does not know to be denied, among it
// every check that asks for less than is there, goes to the store.
//
// # What can be trusted
//
// Tokens go out of a bucket whoever takes them, so a bucket that was seen empty
// stays denied until enough has flowed in. What others take in between makes
// the true wait longer than the one that the cache says, never shorter. Three
// things make a bucket fuller than it was seen:
//
//   - A reset or a refund. One that goes through this cache counts before it is
//     answered, and one that went through another as soon as [Cache.Hear] gets
//     the [Notice] of it. What was decided before a reset and arrives after it
//     is not remembered: the clock of the store says which was first.
//   - Another limit. What was seen under one limit says nothing under another,
//     even of the same name, so a change of policies needs no notice.
//   - A store that lost its data, a bucket that somebody deleted by hand, two
//     limits of one name side by side, a check over several slots of Redis
//     Cluster that gives back what it took in one of them (limiter.Undo), or a
//     notice that was lost. Against these nothing is remembered for more than
//     [Life] after it was decided, so that any such mistake ends by then.
//
// # Time
//
// A denial ends by the clock of the store. The cache sees that clock in every
// answer of the store and keeps how far it is ahead of the process's own
// monotonic one, counted from when the question was sent: the true time of the
// store is never later than what follows from it, so no denial lasts longer
// than the store would have it; it may end earlier, by as long as the question
// was under way. No wall clock is looked at. In Redis Cluster each node has a
// clock of its own: a denial that was decided for this cache goes by the clock
// that decided it, and one that another worker shared by that of the node which
// answered last, so it can be wrong by as much as the two differ.
package denycache

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// Life is how long a denial is remembered at most.
const Life = time.Second

// DefaultEntries is the default of Options.Entries.
const DefaultEntries = 65536

// Options configures a Cache. The zero value of a field means its default.
type Options struct {
	// Entries is how many buckets the cache remembers at most, about 200 bytes
	// each when they are in use; the default is DefaultEntries. Of those that
	// compete for the same place the one decided last stays.
	Entries int

	// Clock is read before the store is asked. The default is time.Now. The
	// times given to Known must be of the same clock.
	Clock func() time.Time
}

// Cache is a limiter.Store that answers what it knows to be denied. It is safe
// for concurrent use.
type Cache struct {
	store limiter.Store
	clock func() time.Time
	start time.Time
	table *table

	lead    atomic.Int64 // of the store's clock, at the last answer; see leadOf
	notice  atomic.Pointer[func(Notice)]
	batches sync.Pool // of *batch

	hits, shared, heard atomic.Uint64
}

var _ limiter.Store = (*Cache)(nil)

// New returns an empty Cache before store.
func New(store limiter.Store, o Options) *Cache {
	if o.Entries <= 0 {
		o.Entries = DefaultEntries
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	c := &Cache{store: store, clock: o.Clock, start: o.Clock(), table: newTable(o.Entries)}
	c.lead.Store(unknown)
	c.batches.New = func() any { return new(batch) }
	return c
}

// Stats describes a Cache. The counts are since it was made.
type Stats struct {
	// Entries is how many buckets are remembered, among them some whose time
	// is over.
	Entries int
	// Hits is how many checks were answered.
	Hits uint64
	// Shared and Heard are how many notices went out and came in.
	Shared, Heard uint64
}

// Stats counts. It takes each lock in turn.
func (c *Cache) Stats() Stats {
	return Stats{
		Entries: int(c.table.used.Load()),
		Hits:    c.hits.Load(),
		Shared:  c.shared.Load(),
		Heard:   c.heard.Load(),
	}
}

// unknown is the lead of a clock that was never seen.
const unknown = math.MinInt64

// maxNow bounds the times of the store that are counted with: the year 2112,
// up to which limits are exact.
const maxNow = 1 << 52

// local is a time as nanoseconds of the process's monotonic clock.
func (c *Cache) local(t time.Time) int64 { return int64(t.Sub(c.start)) }

// leadOf returns by how many nanoseconds the store's clock is ahead of the
// local one at most, when it said now in answer to what was sent then.
func leadOf(now, sent int64) int64 { return now*1000 + 999 - sent }

// storeTime returns the time of the store in microseconds, or a later one.
func storeTime(local, lead int64) int64 { return (local + lead) / 1000 }

// alive reports whether what was decided then is still to be remembered.
func alive(now, decided int64) bool {
	return now >= decided && now-decided < Life.Microseconds()
}

// Known decides the check if it is known to be denied. Res is then filled in
// like by Take, with limiter.SourceDenyCache; otherwise it is not touched or
// says nothing. The check must be valid, and at is the time for which it is
// decided, shortly before the present.
//
// Known asks nobody, does not block and allocates nothing if there is room in
// res, so it can be called before a check is queued.
func (c *Cache) Known(at time.Time, check *limiter.Check, res *limiter.Result) bool {
	if check.Op != limiter.Take || c.table.used.Load() == 0 {
		return false
	}
	if len(check.Demands) != 1 {
		return c.knownTogether(at, check, res)
	}
	d := &check.Demands[0]
	if d.Cost == 0 {
		return false
	}
	local := c.local(at)
	v, ok := c.table.look(c.table.hash(d), d, local)
	if !ok {
		return false
	}
	now := storeTime(local, v.lead)
	var states [1]limiter.State
	states[0], _ = d.Rule.Open(v.mark, now)
	limiter.Decide(check, states[:], now, res)
	if res.Allowed {
		return false
	}
	res.Source = limiter.SourceDenyCache
	c.hits.Add(1)
	if v.due {
		c.share(d, v, now, res.Levels[0].RetryAfter)
	}
	return true
}

// knownTogether is Known for several demands, all of which must be remembered:
// the answer is about all of them.
func (c *Cache) knownTogether(at time.Time, check *limiter.Check, res *limiter.Result) bool {
	local := c.local(at)
	var views [limiter.MaxDemands]view
	now := int64(math.MinInt64)
	for i := range check.Demands {
		d := &check.Demands[i]
		var ok bool
		// Of a bucket that is only looked at nothing is remembered: it may be
		// one that taking would have mended, see limiter.Rule.Open.
		if views[i], ok = c.table.look(c.table.hash(d), d, local); !ok || d.Cost == 0 {
			return false
		}
		now = max(now, storeTime(local, views[i].lead))
	}
	var states [limiter.MaxDemands]limiter.State
	for i := range check.Demands {
		states[i], _ = check.Demands[i].Rule.Open(views[i].mark, now)
	}
	limiter.Decide(check, states[:len(check.Demands)], now, res)
	if res.Allowed {
		return false
	}
	res.Source = limiter.SourceDenyCache
	c.hits.Add(1)
	for i := range check.Demands {
		if views[i].due {
			c.share(&check.Demands[i], views[i], now, res.RetryAfter())
		}
	}
	return true
}

// Take implements limiter.Store.
func (c *Cache) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	at := c.clock()
	if c.table.used.Load() == 0 {
		return c.ask(ctx, at, checks, results)
	}
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	b := c.batches.Get().(*batch)
	defer c.batches.Put(b)
	if !c.sift(at, checks, results, b) {
		return c.ask(ctx, at, checks, results)
	}
	if len(b.open) == 0 {
		return nil
	}
	for _, i := range b.open {
		b.checks = append(b.checks, checks[i])
		b.results = append(b.results, results[i])
	}
	err := c.ask(ctx, at, b.checks, b.results)
	for j, i := range b.open {
		results[i] = b.results[j]
	}
	clear(b.checks) // keep nobody's keys alive
	clear(b.results)
	b.checks, b.results = b.checks[:0], b.results[:0]
	return err
}

// ask asks the store and learns from it, unless it refused the whole batch.
func (c *Cache) ask(ctx context.Context, at time.Time, checks []limiter.Check, results []limiter.Result) error {
	err := c.store.Take(ctx, checks, results)
	if !errors.Is(err, limiter.ErrInvalidCheck) && !errors.Is(err, limiter.ErrCostExceedsBurst) {
		c.learn(at, checks, results)
	}
	return err
}

// batch is what is left of a batch for the store.
type batch struct {
	open    []int
	checks  []limiter.Check
	results []limiter.Result
}

// sift answers what is known, leaves the rest in b, and reports whether it has
// answered any.
//
// The checks of a batch are decided one after the other. So a check that goes
// to the store takes what is known of its buckets with it: those behind it
// would otherwise be answered as if it had not been there.
func (c *Cache) sift(at time.Time, checks []limiter.Check, results []limiter.Result, b *batch) bool {
	b.open = b.open[:0]
	for i := range checks {
		if c.Known(at, &checks[i], &results[i]) {
			continue
		}
		results[i].Source = limiter.SourceNone
		b.open = append(b.open, i)
		if checks[i].Op == limiter.Take && !checks[i].Taking() {
			continue // it only looks
		}
		for j := range checks[i].Demands {
			c.table.forget(&checks[i].Demands[j], math.MaxInt64)
		}
	}
	return len(b.open) < len(checks)
}

// learn remembers what the store denied, and forgets what it changed. What was
// asked was sent at that time.
func (c *Cache) learn(sent time.Time, checks []limiter.Check, results []limiter.Result) {
	local, seen := c.local(sent), false
	var arrived int64 // when the answer was here, by the local clock
	for i := range checks {
		check, res := &checks[i], &results[i]
		decided := res.Source == limiter.SourceRedis && res.At > 0 && res.At < maxNow
		if decided && !seen && !res.InTurn {
			c.lead.Store(leadOf(res.At, local))
			arrived, seen = c.local(c.clock()), true
		}
		switch {
		case check.Op != limiter.Take && check.Op != limiter.Look:
			c.refilled(check, res, decided)
		case !decided:
		case res.Allowed:
			if c.table.used.Load() > 0 && check.Taking() {
				for j := range check.Demands {
					c.table.forget(&check.Demands[j], res.At)
				}
			}
		case !res.InTurn: // or its buckets go by several clocks
			for j := range check.Demands {
				d := &check.Demands[j]
				if d.Cost == 0 {
					continue // see knownTogether
				}
				c.table.put(d, entry{
					mark:    d.Rule.Mark(res.States[j], res.At),
					decided: res.At,
					lead:    leadOf(res.At, local),
				}, arrived)
			}
		}
	}
}
