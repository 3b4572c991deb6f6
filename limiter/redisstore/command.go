package redisstore

import (
	"fmt"
	"slices"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// limitGroup is the buckets that one call has under one limit.
type limitGroup struct {
	rule        *limiter.Rule
	plain, rest int // how many; once they are arranged, the places where they end
}

// arrange puts the buckets in order: by limit, the plain ones of each first.
func (p *plan) arrange() {
	for i := range p.buckets {
		b := &p.buckets[i]
		g, ok := p.rules[b.rule]
		if !ok {
			g = len(p.limits)
			p.rules[b.rule] = g
			p.limits = append(p.limits, limitGroup{rule: b.rule})
		}
		b.limit, b.plain = g, p.plain(b)
		if b.plain {
			p.limits[g].plain++
		} else {
			p.limits[g].rest++
		}
	}
	place := 0
	for i := range p.limits {
		g := &p.limits[i]
		plain, rest := g.plain, g.rest
		g.plain, g.rest = place, place+plain
		place += plain + rest
	}
	p.order = slices.Grow(p.order, place)[:place]
	for i := range p.buckets {
		b := &p.buckets[i]
		next := &p.limits[b.limit].rest
		if b.plain {
			next = &p.limits[b.limit].plain
		}
		b.place = *next
		p.order[b.place] = i
		*next++
	}
}

// keys appends the names of the buckets to the arguments. They share the memory
// of one string, and the arguments point to them, which costs no memory either.
func (p *plan) keys() {
	for _, b := range p.order {
		p.text = p.layout.appendName(p.text, p.buckets[b].key, p.buckets[b].rule)
	}
	text := string(p.text)
	p.names = slices.Grow(p.names, len(p.order))[:len(p.order)]
	for i, b := range p.order {
		n := len("rl:{}:") + len(p.buckets[b].key) + len(p.buckets[b].rule.Name())
		p.names[i], text = text[:n], text[n:]
		p.args = append(p.args, &p.names[i])
	}
}

// command returns the keys and arguments of the script, which take.lua
// describes, after head. The zero time asks Redis for the time; windows of
// calendars are then those around the time of this process.
func (p *plan) command(now time.Time, head ...any) []any {
	p.arrange()
	p.args = append(append(p.args, head...), len(p.buckets))
	p.keys()
	if now.IsZero() {
		now = time.Now()
		p.args = append(p.args, "")
	} else {
		p.args = append(p.args, now.UnixMicro())
	}
	p.args = append(p.args, len(p.limits))
	begin := 0
	for i := range p.limits {
		g := &p.limits[i]
		numbers := g.rule.Args(now)
		p.args = append(p.args, g.rule.Limit().Algorithm, len(numbers))
		for _, n := range numbers {
			p.args = append(p.args, n)
		}
		p.args = append(p.args, g.rest-begin, g.plain-begin)
		begin = g.rest
	}
	for i := range p.steps {
		s := &p.steps[i]
		needs := p.needs[s.first : s.first+s.count]
		if p.buckets[needs[0].bucket].plain {
			continue
		}
		p.args = append(p.args, s.times, s.count)
		for _, n := range needs {
			switch p.args = append(p.args, p.buckets[n.bucket].place+1); {
			case n.cost == fill:
				p.args = append(p.args, "")
			case n.undo:
				p.args = append(p.args, fmt.Sprintf("%d@%d", -n.cost, n.stamp))
			default:
				p.args = append(p.args, n.cost)
			}
		}
	}
	return p.args
}
