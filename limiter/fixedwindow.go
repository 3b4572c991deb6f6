package limiter

import (
	"sync/atomic"
	"time"
)

// FixedWindow admits Rate in each window, from its beginning to its end, so up
// to twice the Rate around the moment between two. Windows are Interval long
// and begin at its multiples since the epoch, or are those of a Calendar: the
// algorithm of quotas.
//
// Its state is how many were admitted in this window.
const FixedWindow = "fixed_window"

// fixedWindow implements algorithm.
type fixedWindow struct {
	most   int64    // tokens
	length int64    // microseconds; 0 with an almanac
	days   *almanac // nil without a calendar
	last   atomic.Pointer[span]
}

// span is a window, in microseconds: from start, and before end.
type span struct{ start, end int64 }

func newFixedWindow(l Limit) (algorithm, error) {
	if err := l.noBurst(); err != nil {
		return nil, err
	}
	w := &fixedWindow{most: l.Rate, length: l.Interval.Microseconds()}
	if l.Calendar != (Calendar{}) {
		days, err := l.Calendar.compile()
		if err != nil {
			return nil, err
		}
		w.days = &days
	}
	return w, nil
}

// at returns the window of now.
func (w *fixedWindow) at(now int64) span {
	if w.days == nil {
		start := now - now%w.length
		return span{start, start + w.length}
	}
	if s := w.last.Load(); s != nil && s.start <= now && now < s.end {
		return *s
	}
	start, end := w.days.window(time.UnixMicro(now))
	s := &span{start.UnixMicro(), end.UnixMicro()}
	w.last.Store(s)
	return *s
}

func (w *fixedWindow) open(m Mark, now int64) (State, bool) {
	if m.form != formFixed {
		return State{}, false
	}
	s := State{min(m.more[0], w.most)}
	// Another end is that of a limit that was changed, or of a clock that
	// went back: what was admitted counts for this window.
	return s, s[0] != m.more[0] || m.at != w.at(now).end
}

func (w *fixedWindow) mark(s State, now int64) Mark {
	end := w.at(now).end
	return Mark{form: formFixed, Until: end, at: end, more: s}
}

func (w *fixedWindow) has(s State, cost, _ int64) bool { return cost <= w.most-s[0] }

func (w *fixedWindow) take(s State, cost int64) State { return State{s[0] + cost} }

func (w *fixedWindow) give(s State, cost int64) State { return State{max(0, s[0]-cost)} }

func (w *fixedWindow) undo(s State, cost, taken, now int64) State {
	if w.stamp(taken) != w.at(now).end {
		return s
	}
	return w.give(s, cost)
}

func (w *fixedWindow) stamp(taken int64) int64 { return w.at(taken).end }

func (w *fixedWindow) level(s State, cost, now int64) Level {
	l := Level{Admitted: w.has(s, cost, now), Remaining: w.most - s[0]}
	left := time.Duration(w.at(now).end-now) * time.Microsecond
	if !s.Full() {
		l.ResetAfter = left
	}
	if !l.Admitted {
		l.RetryAfter = left
	}
	return l
}

func (w *fixedWindow) delay(State, int64) time.Duration { return 0 }

func (w *fixedWindow) capacity() int64 { return w.most }

func (w *fixedWindow) window() time.Duration {
	if w.days == nil {
		return time.Duration(w.length) * time.Microsecond
	}
	return map[string]time.Duration{
		minutely: time.Minute, hourly: time.Hour, daily: 25 * time.Hour, weekly: 7*24*time.Hour + time.Hour,
		monthly: 31*24*time.Hour + time.Hour, yearly: 366 * 24 * time.Hour,
	}[w.days.period]
}

func (w *fixedWindow) width() int { return 1 }

// args of a calendar are the windows around now, because the script knows no
// calendars: the previous one, this one and the next one, by their bounds. The
// clock of Redis must be in them.
func (w *fixedWindow) args(now int64) []int64 {
	if w.days == nil {
		return []int64{w.most, w.length}
	}
	this := w.at(now)
	before, _ := w.days.window(time.UnixMicro(this.start - 1))
	_, after := w.days.window(time.UnixMicro(this.end))
	return []int64{w.most, 0, before.UnixMicro(), this.start, this.end, after.UnixMicro()}
}
