package bench

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// clock counts from when a round began. It never jumps.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }

// pace says when checks are due. In a closed loop that is whenever there is
// somebody to send one; in an open loop the i-th one is due at i*interval,
// whatever became of those before.
type pace struct {
	clock    clock
	interval time.Duration // 0 in a closed loop
	end      time.Duration // nothing is due from here on
	stopped  atomic.Bool

	// late says by how much the pacer missed the time of each check that it
	// waited for. What the target was too slow for is not in it.
	late *hdrhistogram.Histogram
}

// over reports whether nothing more is to be sent.
func (p *pace) over() bool { return p.stopped.Load() || p.clock.now() >= p.end }

// longestSleep is how long a pacer may fail to notice that it should stop.
const longestSleep = 100 * time.Millisecond

// schedule calls emit at the time of each check, one after the other, and
// calls unsent for those that were due before the end and that emit had no
// time for. An emit that blocks delays those behind it, but not their due
// time. It returns at the end, or when ctx is done or emit returns false.
func (p *pace) schedule(ctx context.Context, emit func(due time.Duration) bool, unsent func(due time.Duration)) {
	wait := newSleeper()
	i := time.Duration(0)
	for ; ; i++ {
		due := i * p.interval
		if due >= p.end || ctx.Err() != nil {
			return
		}
		now := p.clock.now()
		if now >= p.end {
			break
		}
		if now < due {
			for ; now < due && ctx.Err() == nil; now = p.clock.now() {
				wait.sleep(min(due-now, longestSleep))
			}
			if ctx.Err() != nil {
				return
			}
			record(p.late, now-due)
		}
		if !emit(due) {
			break
		}
	}
	for until := min(p.end, p.clock.now()); ; i++ {
		due := i * p.interval
		if due >= until {
			return
		}
		unsent(due)
	}
}
