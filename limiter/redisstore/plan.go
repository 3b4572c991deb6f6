package redisstore

import (
	"fmt"
	"math"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// maxBuckets bounds the keys of one script call; Lua's unpack fails at 8000.
const maxBuckets = 4000

// plan is one call of the script: some checks of a batch, in their order, and
// the buckets they need.
type plan struct {
	checks  []int // indexes into the batch
	demands []int // the bucket of each demand of each check, in order
	buckets []bucket
	steps   []step
	layout  layout
	byName  map[string]int // redis key -> bucket
	order   []int          // buckets in the order of the script's KEYS
}

// bucket is one key of the script.
type bucket struct {
	name string // in Redis
	rule *limiter.Rule
	step int  // the last step that names it, or -1
	busy bool // more than one step names it
}

// step is the same check, asked so many times.
type step struct {
	times int64
	needs []need
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

// planBatch spreads a batch over as few script calls as it takes. Calls must
// run in the order of the plans, at least those that share buckets.
//
// One call would do, but for two things: keys of different slots do not go
// together in a cluster, and a bucket has one rule in a call, so if a batch
// names a bucket under two (somebody changes their inline limit), the second
// begins another plan.
func planBatch(checks []limiter.Check, l layout) []*plan {
	var plans []*plan
	current := make(map[uint16]*plan, 1)
	room := len(checks)
	if l.slots {
		room = 1 // most slots get one check
	}
	for i := range checks {
		c := &checks[i]
		slot := l.slot(&c.Demands[0])
		p := current[slot]
		if p == nil || !p.add(i, c) {
			p = &plan{layout: l, byName: make(map[string]int, room)}
			p.add(i, c)
			current[slot] = p
			plans = append(plans, p)
		}
	}
	return plans
}

// add adds a check, or reports that it needs another plan.
func (p *plan) add(i int, c *limiter.Check) bool {
	if len(p.buckets)+len(c.Demands) > maxBuckets {
		return false
	}
	first := len(p.demands)
	for j := range c.Demands {
		d := &c.Demands[j]
		name := p.layout.name(d)
		b, ok := p.byName[name]
		if !ok {
			b = len(p.buckets)
			p.buckets = append(p.buckets, bucket{name: name, rule: d.Rule, step: -1})
			p.byName[name] = b
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
	if c.Op == limiter.Take || c.Op == limiter.Look {
		times := int64(1)
		if c.Op == limiter.Look {
			times = 0
		}
		var needs []need
		for j := range c.Demands {
			if cost := c.Demands[j].Cost; cost > 0 {
				needs = append(needs, need{bucket: buckets[j], cost: cost})
			}
		}
		p.addStep(times, needs)
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
			p.addStep(1, []need{n})
		}
	}
}

// addStep adds a step that is asked so many times. If the last step that named its only bucket was the
// same, then it is the same step once more: nothing between the two touched
// the bucket, so the order of checks on it stays what it was.
func (p *plan) addStep(times int64, needs []need) {
	if len(needs) == 0 {
		return
	}
	if b := &p.buckets[needs[0].bucket]; len(needs) == 1 && b.step >= 0 {
		if last := &p.steps[b.step]; len(last.needs) == 1 && last.needs[0] == needs[0] && !needs[0].undo {
			last.times += times
			return
		}
	}
	for _, n := range needs {
		b := &p.buckets[n.bucket]
		b.busy = b.step >= 0
		b.step = len(p.steps)
	}
	p.steps = append(p.steps, step{times: times, needs: needs})
}

// plain reports whether one check asks the bucket for one token, and nothing
// else happens to it. Most buckets of most batches are plain.
func (p *plan) plain(b *bucket) bool {
	if b.step < 0 || b.busy {
		return false
	}
	s := &p.steps[b.step]
	return s.times == 1 && len(s.needs) == 1 && s.needs[0].cost == 1
}

// args returns the keys and arguments of the script, which take.lua describes,
// after head. The zero time asks Redis for the time; windows of calendars are
// then those around the time of this process.
func (p *plan) args(head []any, now time.Time) []any {
	// Buckets by limit, the plain ones of each limit first.
	byLimit := make(map[limiter.Limit]int)
	var limits []*limitGroup
	for i := range p.buckets {
		b := &p.buckets[i]
		g, ok := byLimit[b.rule.Limit()]
		if !ok {
			g = len(limits)
			byLimit[b.rule.Limit()] = g
			limits = append(limits, &limitGroup{rule: b.rule})
		}
		if p.plain(b) {
			limits[g].plain = append(limits[g].plain, i)
		} else {
			limits[g].rest = append(limits[g].rest, i)
		}
	}
	args := append(head, len(p.buckets))
	p.order = make([]int, 0, len(p.buckets))
	for _, g := range limits {
		p.order = append(append(p.order, g.plain...), g.rest...)
	}
	position := make([]int, len(p.buckets)) // of a bucket in KEYS, from 1
	for i, b := range p.order {
		position[b] = i + 1
		args = append(args, p.buckets[b].name)
	}
	if now.IsZero() {
		now = time.Now()
		args = append(args, "")
	} else {
		args = append(args, now.UnixMicro())
	}
	args = append(args, len(limits))
	for _, g := range limits {
		numbers := g.rule.Args(now)
		args = append(args, g.rule.Limit().Algorithm, len(numbers))
		for _, n := range numbers {
			args = append(args, n)
		}
		args = append(args, len(g.plain)+len(g.rest), len(g.plain))
	}
	for i := range p.steps {
		s := &p.steps[i]
		if p.plain(&p.buckets[s.needs[0].bucket]) {
			continue
		}
		args = append(args, s.times, len(s.needs))
		for _, n := range s.needs {
			switch args = append(args, position[n.bucket]); {
			case n.cost == fill:
				args = append(args, "")
			case n.undo:
				args = append(args, fmt.Sprintf("%d@%d", -n.cost, n.stamp))
			default:
				args = append(args, n.cost)
			}
		}
	}
	return args
}

// limitGroup is the buckets that one call has under one limit.
type limitGroup struct {
	rule        *limiter.Rule
	plain, rest []int
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
	states := make([]limiter.State, len(p.buckets))
	for _, b := range p.order {
		n := copy(states[b][:p.buckets[b].rule.Width()], numbers)
		numbers = numbers[n:]
	}
	var own [limiter.MaxDemands]limiter.State
	demands := p.demands
	for _, i := range p.checks {
		n := len(checks[i].Demands)
		for j, b := range demands[:n] {
			own[j] = states[b]
		}
		limiter.Decide(&checks[i], own[:n], now, &results[i])
		results[i].Source = limiter.SourceRedis
		for j, b := range demands[:n] {
			states[b] = own[j]
		}
		demands = demands[n:]
	}
}
