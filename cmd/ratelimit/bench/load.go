package bench

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Target is somebody who can be asked, in one way of asking.
type Target interface {
	// drive asks until the pace is over or ctx is done, and returns when the
	// last answer is there or has timed out.
	drive(ctx context.Context, l *Load, p *pace, r *recorder)
}

// Load says how much is asked, and about what.
type Load struct {
	Keys *Keys

	// Concurrency is how many checks are in flight at most, at least 1.
	Concurrency int

	// Rate is how many checks are due per second, in an open loop. 0 is a
	// closed loop, in which each answer is followed by the next check.
	Rate float64

	// Cost is how many tokens each check takes, as far as Admissions is
	// concerned.
	Cost int64

	// Warmup precedes what is measured, and Duration is that.
	Warmup, Duration time.Duration

	// Admissions counts what was granted. It may be nil, and then nothing is.
	Admissions *Admissions

	// Seed makes the series of keys another one.
	Seed uint64

	// Progress is told four times a second how far a round is. It may be nil.
	Progress func(Progress)
}

// Progress is how far a round is.
type Progress struct {
	Elapsed   time.Duration
	PerSecond float64 // since the last one
	Counts    Counts
	P50, P99  time.Duration
}

// Round is what one round measured.
type Round struct {
	// PerSecond counts answers, granted or denied, without the warmup.
	PerSecond float64

	// Latency is in nanoseconds, without the warmup.
	Latency *hdrhistogram.Histogram

	// Late says by how much the pacer of an open loop missed its times. It is
	// empty in a closed loop.
	Late *hdrhistogram.Histogram

	// Counts and Errors are of the whole round. Errors counts by code.
	Counts Counts
	Errors map[string]int64

	// FirstError is one of the errors, or nil if there were none.
	FirstError error
}

// Run drives the target with the load for one round. It ends early when ctx is
// done, and then the round says what there was until then.
func Run(ctx context.Context, t Target, l *Load) *Round {
	p := &pace{clock: clock{time.Now()}, end: l.Warmup + l.Duration, late: newHistogram()}
	if l.Rate > 0 {
		p.interval = time.Duration(float64(time.Second) / l.Rate)
	}
	r := newRecorder(p.clock, l.Warmup, p.end, l.Admissions, l.Cost)
	stop := context.AfterFunc(ctx, func() { p.stopped.Store(true) })
	defer stop()

	var wg sync.WaitGroup
	done := make(chan struct{})
	if l.Progress != nil {
		wg.Go(func() { watch(r, l.Progress, done) })
	}
	t.drive(ctx, l, p, r)
	close(done)
	wg.Wait()

	if ctx.Err() != nil {
		r.to = max(r.from, min(r.to, p.clock.now()))
	}
	round := r.round()
	round.Late = p.late
	return round
}

// watch reports progress until done is closed.
func watch(r *recorder, report func(Progress), done <-chan struct{}) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last Progress
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		counts, latency := r.progress()
		now := Progress{
			Elapsed: r.clock.now(),
			Counts:  counts,
			P50:     time.Duration(latency.ValueAtPercentile(50)),
			P99:     time.Duration(latency.ValueAtPercentile(99)),
		}
		now.PerSecond = float64(counts.Answered()-last.Counts.Answered()) / (now.Elapsed - last.Elapsed).Seconds()
		report(now)
		last = now
	}
}
