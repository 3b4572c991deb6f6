package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// exchange is what the strategies without a script have in common: some checks
// of a batch, the buckets that they read from Redis, the decision in Go, and
// the buckets that they write back.
type exchange struct {
	layout layout
	checks []int          // indexes into the batch
	names  []string       // of the buckets
	byName map[string]int // bucket
	marks  []limiter.Mark
	dirty  []bool
}

// exchanges spreads a batch over as few exchanges as it takes: one, or in a
// cluster one for each slot.
func exchanges(checks []limiter.Check, l layout) []*exchange {
	plans := make(map[uint16]*exchange, 1)
	var all []*exchange
	for i := range checks {
		slot := l.slot(&checks[i].Demands[0])
		e := plans[slot]
		if e == nil {
			e = &exchange{layout: l, byName: make(map[string]int)}
			plans[slot] = e
			all = append(all, e)
		}
		e.checks = append(e.checks, i)
		for j := range checks[i].Demands {
			name := l.name(&checks[i].Demands[j])
			if _, ok := e.byName[name]; !ok {
				e.byName[name] = len(e.names)
				e.names = append(e.names, name)
			}
		}
	}
	for _, e := range all {
		e.marks, e.dirty = make([]limiter.Mark, len(e.names)), make([]bool, len(e.names))
	}
	return all
}

// eachExchange runs the exchanges of a batch, and gives its checks their answers.
func eachExchange(l layout, checks []limiter.Check, results []limiter.Result, run func(*exchange) error) error {
	var failed error
	for _, e := range exchanges(checks, l) {
		err := run(e)
		e.settle(results, err)
		failed = errors.Join(failed, err)
	}
	return failed
}

// read reads the buckets, and after them the time, in one round trip: in this
// order no bucket was written later than the time says.
func (e *exchange) read(ctx context.Context, pipe redis.Pipeliner, now time.Time) (time.Time, error) {
	get := pipe.MGet(ctx, e.names...)
	var clock *redis.TimeCmd
	if now.IsZero() {
		clock = pipe.Time(ctx)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return now, err
	}
	if clock != nil {
		now = clock.Val()
	}
	for i, value := range get.Val() {
		text, _ := value.(string) // nil without a bucket
		e.marks[i], e.dirty[i] = limiter.ParseMark(text), false
	}
	return now, nil
}

// decide decides the checks, one after the other.
func (e *exchange) decide(checks []limiter.Check, results []limiter.Result, now time.Time) {
	us := now.UnixMicro()
	var states, before [limiter.MaxDemands]limiter.State
	var stale [limiter.MaxDemands]bool
	for _, i := range e.checks {
		c := &checks[i]
		for j := range c.Demands {
			d := &c.Demands[j]
			states[j], stale[j] = d.Rule.Open(e.marks[e.byName[e.layout.name(d)]], us)
		}
		before = states
		limiter.Decide(c, states[:len(c.Demands)], us, &results[i])
		for j := range c.Demands {
			if states[j] != before[j] || stale[j] && c.Takes(j) || c.Op == limiter.Reset {
				d := &c.Demands[j]
				b := e.byName[e.layout.name(d)]
				e.marks[b], e.dirty[b] = d.Rule.Mark(states[j], us), true
			}
		}
	}
}

// write queues what must be written, and reports whether there is anything.
func (e *exchange) write(ctx context.Context, pipe redis.Pipeliner, now time.Time) bool {
	any := false
	for i, name := range e.names {
		if !e.dirty[i] {
			continue
		}
		any = true
		if text := e.marks[i].String(); text == "" {
			pipe.Del(ctx, name)
		} else {
			left := expiry(e.marks[i].Until) - now.UnixMicro()
			// In whole milliseconds, as Redis keeps it, rounded up.
			pipe.Set(ctx, name, text, time.Duration((left+999)/1000)*time.Millisecond)
		}
	}
	return any
}

// expiry returns when a bucket expires that is full at until, in microseconds.
// The script relies on it, see take.lua.
func expiry(until int64) int64 {
	const grid = 10_000_000
	return until - until%grid + 2*grid
}

// settle gives the checks their answers for good, or takes them back.
func (e *exchange) settle(results []limiter.Result, err error) {
	for _, i := range e.checks {
		if results[i].Source = limiter.SourceRedis; err != nil {
			results[i].Source = limiter.SourceNone
		}
	}
}
