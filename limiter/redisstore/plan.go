package redisstore

import (
	"math"
	"slices"
	"sync"

	"github.com/quotaworker/ratelimit/limiter"
)

// maxBuckets bounds the keys of one script call; Lua's unpack fails at 8000.
const maxBuckets = 4000

// planner spreads batches over calls of the script. It is safe for concurrent
// use; what it plans is reused, so give it back with free.
type planner struct {
	layout layout
	spare  sync.Pool // of *plan
}

// plan is one call of the script: some checks of a batch, in their order, and
// the buckets they need.
type plan struct {
	checks  []int // indexes into the batch
	demands []int // the bucket of each demand of each check, in order
	buckets []bucket
	steps   []step
	needs   []need // of all steps
	layout  layout
	index   map[bucketID]int // bucket

	// What command makes of it.
	text   []byte       // the names of the buckets
	names  []string     // in the order of the script's KEYS
	order  []int        // buckets in that order
	limits []limitGroup // in that order as well
	rules  map[*limiter.Rule]int
	args   []any

	states []limiter.State // for replay, by bucket
}

// bucketID says which bucket a demand is about.
type bucketID struct{ key, limit string }

// bucket is one key of the script.
type bucket struct {
	rule  *limiter.Rule
	key   string
	step  int  // the last step that names it, or -1
	busy  bool // more than one step names it
	plain bool // see plan.plain
	limit int  // its group
	place int  // in KEYS, from 0
}

// step is the same check, asked so many times.
type step struct {
	times int64
	first int // of its needs
	count int
}

// need is what a step takes from a bucket, in tokens; negative gives back, and
// fill fills the bucket.
type need struct {
	bucket int
	cost   int64
	undo   bool  // give back what was taken
	stamp  int64 // then, see limiter.Rule
}

const fill = math.MinInt64

// plan spreads a batch over as few script calls as it takes. Calls must run in
// the order of the plans, at least those that share buckets.
//
// One call would do, but for two things: keys of different slots do not go
// together in a cluster, and a bucket has one rule in a call, so if a batch
// names a bucket under two (somebody changes their inline limit), the second
// begins another plan.
func (r *planner) plan(checks []limiter.Check) []*plan {
	var plans []*plan
	var current *plan // of all checks, or of those in a slot
	var bySlot map[uint16]*plan
	if r.layout.slots {
		bySlot = make(map[uint16]*plan, len(checks))
	}
	for i := range checks {
		c := &checks[i]
		slot := r.layout.slot(&c.Demands[0])
		if r.layout.slots {
			current = bySlot[slot]
		}
		if current == nil || !current.add(i, c) {
			current = r.empty()
			current.add(i, c)
			plans = append(plans, current)
			if r.layout.slots {
				bySlot[slot] = current
			}
		}
	}
	return plans
}

// empty returns a plan without checks.
func (r *planner) empty() *plan {
	if p, ok := r.spare.Get().(*plan); ok {
		return p
	}
	return &plan{layout: r.layout, index: make(map[bucketID]int), rules: make(map[*limiter.Rule]int)}
}

// free takes plans back, which nobody may use any more.
func (r *planner) free(plans []*plan) {
	for _, p := range plans {
		clear(p.index)
		clear(p.rules)
		clear(p.buckets) // they point to keys and rules, as do the next two
		clear(p.limits)
		clear(p.names)
		clear(p.args)
		*p = plan{
			layout: p.layout,
			checks: p.checks[:0], demands: p.demands[:0], buckets: p.buckets[:0], steps: p.steps[:0], needs: p.needs[:0],
			index: p.index, text: p.text[:0], names: p.names[:0], order: p.order[:0], limits: p.limits[:0], rules: p.rules,
			args: p.args[:0], states: p.states[:0],
		}
		r.spare.Put(p)
	}
}

// add adds a check, or reports that it needs another plan.
func (p *plan) add(i int, c *limiter.Check) bool {
	if len(p.buckets)+len(c.Demands) > maxBuckets {
		return false
	}
	first := len(p.demands)
	for j := range c.Demands {
		d := &c.Demands[j]
		id := bucketID{d.Key, d.Rule.Name()}
		b, ok := p.index[id]
		if !ok {
			b = len(p.buckets)
			p.buckets = append(p.buckets, bucket{rule: d.Rule, key: d.Key, step: -1})
			p.index[id] = b
		} else if r := p.buckets[b].rule; r != d.Rule && r.Limit() != d.Rule.Limit() {
			return false // what was added above stays, unused: nothing more is added
		}
		p.demands = append(p.demands, b)
	}
	p.checks = append(p.checks, i)
	p.addSteps(c, p.demands[first:])
	return true
}

// addSteps adds what the script must do for a check. A check that only looks
// needs no step, because the script reports every bucket anyway.
func (p *plan) addSteps(c *limiter.Check, buckets []int) {
	first := len(p.needs)
	if c.Op == limiter.Take || c.Op == limiter.Look {
		for j := range c.Demands {
			if cost := c.Demands[j].Cost; cost > 0 {
				p.needs = append(p.needs, need{bucket: buckets[j], cost: cost})
			}
		}
		if c.Op == limiter.Look {
			p.addStep(0, first)
		} else {
			p.addStep(1, first)
		}
		return
	}
	for j := range c.Demands {
		d := &c.Demands[j]
		n := need{bucket: buckets[j], cost: -d.Cost}
		switch c.Op {
		case limiter.Reset:
			n.cost = fill
		case limiter.Undo:
			n.undo, n.stamp = true, d.Rule.Stamp(d.Taken)
		}
		if n.cost != 0 {
			p.needs = append(p.needs, n)
			p.addStep(1, len(p.needs)-1)
		}
	}
}

// addStep adds a step with the needs from first on, asked so many times: 0 to
// look. If the last step that named its only bucket was the same, then it is the
// same step once more: nothing between the two touched the bucket, so the order
// of checks on it stays what it was.
func (p *plan) addStep(times int64, first int) {
	needs := p.needs[first:]
	if len(needs) == 0 {
		return
	}
	if b := &p.buckets[needs[0].bucket]; len(needs) == 1 && b.step >= 0 {
		if last := &p.steps[b.step]; last.count == 1 && p.needs[last.first] == needs[0] && !needs[0].undo {
			last.times += times
			p.needs = p.needs[:first]
			return
		}
	}
	for _, n := range needs {
		b := &p.buckets[n.bucket]
		b.busy = b.step >= 0
		b.step = len(p.steps)
	}
	p.steps = append(p.steps, step{times, first, len(needs)})
}

// plain reports whether one check asks the bucket for one token, and nothing
// else happens to it. Most buckets of most batches are plain.
func (p *plan) plain(b *bucket) bool {
	if b.step < 0 || b.busy {
		return false
	}
	s := &p.steps[b.step]
	return s.times == 1 && s.count == 1 && p.needs[s.first].cost == 1
}

// width is how many numbers the script returns about the buckets.
func (p *plan) width() int {
	n := 0
	for i := range p.buckets {
		n += p.buckets[i].rule.Width()
	}
	return n
}

// replay gives each check its answer: numbers holds what each bucket was like
// at now, in the order of KEYS, before the script charged it.
func (p *plan) replay(checks []limiter.Check, results []limiter.Result, now int64, numbers []int64) {
	p.states = slices.Grow(p.states, len(p.buckets))[:len(p.buckets)]
	for _, b := range p.order {
		p.states[b] = limiter.State{}
		n := copy(p.states[b][:p.buckets[b].rule.Width()], numbers)
		numbers = numbers[n:]
	}
	var own [limiter.MaxDemands]limiter.State
	demands := p.demands
	for _, i := range p.checks {
		n := len(checks[i].Demands)
		for j, b := range demands[:n] {
			own[j] = p.states[b]
		}
		limiter.Decide(&checks[i], own[:n], now, &results[i])
		results[i].Source = limiter.SourceRedis
		for j, b := range demands[:n] {
			p.states[b] = own[j]
		}
		demands = demands[n:]
	}
}
