package bench

import (
	"context"
	"fmt"
	"time"
)

// Plan is a whole run: a target that is measured in rounds, alone or in turns
// with a baseline.
type Plan struct {
	Target   Target
	Baseline Target // nil for none
	Load     Load   // of each round
	Rounds   int    // of each of the two

	// Redis and Worker tell how much processor time the target takes. They
	// may be nil.
	Redis, Worker Meter

	// Progress is told how far each round is. It may be nil.
	Progress func(round, rounds int, baseline bool, p Progress)
}

// Outcome is what a Plan came to.
type Outcome struct {
	Target, Baseline []*Round

	// Redis and Worker are the processor time that each check of the target
	// took. They are 0 without a meter.
	Redis, Worker time.Duration
}

// Run carries the plan out. When ctx is done it ends early, with the rounds so
// far and what there is of the last one. An error is one of a meter, whose
// measurement is then missing.
func (p *Plan) Run(ctx context.Context) (*Outcome, error) {
	var out Outcome
	usage := []struct {
		name  string
		meter Meter
		used  *time.Duration
	}{{"--redis", p.Redis, &out.Redis}, {"--metrics", p.Worker, &out.Worker}}
	before := make([]time.Duration, len(usage))
	var failed error
	read := func(add bool) {
		for i, u := range usage {
			if u.meter == nil || failed != nil {
				continue
			}
			// An interrupt ends the round, and not the reading after it.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			now, err := u.meter(ctx)
			cancel()
			switch {
			case err != nil:
				failed = fmt.Errorf("the processor time of %s cannot be read: %w", u.name, err)
			case add:
				*u.used += now - before[i]
			default:
				before[i] = now
			}
		}
	}
	for i := range p.Rounds {
		// Whoever is second has a warmer machine, so they take turns in that.
		for _, baseline := range []bool{i%2 == 1, i%2 == 0} {
			switch {
			case ctx.Err() != nil:
			case !baseline:
				read(false)
				out.Target = append(out.Target, p.round(ctx, i, false))
				read(true)
			case p.Baseline != nil:
				out.Baseline = append(out.Baseline, p.round(ctx, i, true))
			}
		}
	}
	var checks int64
	for _, r := range out.Target {
		checks += r.Counts.Answered()
	}
	for _, u := range usage {
		*u.used = time.Duration(float64(*u.used) / float64(max(1, checks)))
	}
	return &out, failed
}

func (p *Plan) round(ctx context.Context, i int, baseline bool) *Round {
	load, target := p.Load, p.Target
	if baseline {
		// An echo grants nothing. But to count costs time, and both sides
		// should pay for what is the generator's.
		load.Admissions, target = NewAdmissions(load.Keys.Len(), nil, false), p.Baseline
	}
	load.Seed = uint64(i) << 32
	if p.Progress != nil {
		load.Progress = func(now Progress) { p.Progress(i+1, p.Rounds, baseline, now) }
	}
	return Run(ctx, target, &load)
}
