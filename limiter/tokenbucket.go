package limiter

import (
	"math"
	"time"
)

// Mark is the stored state of a bucket: when it will be full again. The zero
// Mark, like any moment that has passed, is a full bucket.
type Mark struct {
	// At is the moment, in ticks since the Unix epoch.
	At int64
	// Frac is the rest, in units: less than what one tick refills.
	Frac int64
	// Tick is the length of a tick in microseconds, that of the rule which
	// made the mark.
	Tick int64
}

// Debt returns how many units the bucket with this mark lacks at now, in
// microseconds since the Unix epoch: 0 for a full bucket, the capacity for an
// empty one, never more or less. A mark far in the future, which a clock that
// jumped back leaves behind, counts as an empty bucket.
//
// The mark may come from another rule: a limit that was changed keeps the
// time to full, at most that of the new capacity. So nothing is minted, and a
// lower limit holds at once.
func (r *Rule) Debt(m Mark, now int64) int64 {
	if m.Tick != r.tick {
		if m.Micros() <= now {
			return 0 // before the rounding up below makes it owe something
		}
		m = m.in(r.tick)
	}
	ticks := m.At - now/r.tick
	if ticks < 0 {
		return 0
	}
	if ticks > r.capacity/r.refill {
		return r.capacity
	}
	debt, frac := ticks*r.refill, min(m.Frac, r.refill)
	if frac >= r.capacity-debt {
		return r.capacity
	}
	return debt + frac
}

// Mark is the inverse of Debt.
func (r *Rule) Mark(debt, now int64) Mark {
	return Mark{At: now/r.tick + debt/r.refill, Frac: debt % r.refill, Tick: r.tick}
}

// Micros returns the moment at which the bucket is full, in microseconds since
// the Unix epoch, rounded up to a tick and at most 1<<63 - 1.
func (m Mark) Micros() int64 {
	at := m.At
	if m.Frac > 0 {
		at++
	}
	if at > math.MaxInt64/max(1, m.Tick) {
		return math.MaxInt64
	}
	return at * m.Tick
}

// in returns the mark in ticks of another length, rounded up.
func (m Mark) in(tick int64) Mark {
	us := m.Micros()
	at := us / tick
	if us%tick > 0 {
		at++
	}
	return Mark{At: at, Tick: tick}
}

// level describes a bucket with this debt to a caller who asked for cost
// tokens, and says whether it has them.
func (r *Rule) level(debt, cost, now int64) Level {
	free := r.capacity - debt
	l := Level{
		Admitted:   cost*r.token <= free,
		Remaining:  free / r.token,
		ResetAfter: r.until(debt, now),
	}
	if !l.Admitted {
		l.RetryAfter = r.until(cost*r.token-free, now)
	}
	return l
}

// until returns how long it takes from now until that many units have flowed
// in, rounded up to a microsecond. Refill arrives at the ticks of the clock,
// not at ticks counted from now.
func (r *Rule) until(units, now int64) time.Duration {
	if units <= 0 {
		return 0
	}
	ticks := (units-1)/r.refill + 1
	return time.Duration(ticks*r.tick-now%r.tick) * time.Microsecond
}
