package limiter

import "time"

// SlidingWindow admits about Rate in any Interval, with two counters: what was
// admitted in this window, and in the one before, of which as much counts as
// the sliding interval still covers. It assumes that the previous window was
// used evenly, and there lies its error; it never admits more than Rate in a
// window of the clock. Windows begin at multiples of Interval since the epoch.
//
// Its state is the two counters, this window's and the previous one's.
const SlidingWindow = "sliding_window"

// slidingWindow implements algorithm. What is used is counted in token-ticks:
// a token of this window weighs the whole length of it.
type slidingWindow struct {
	tick   int64 // microseconds
	length int64 // ticks of a window
	most   int64 // tokens
}

func newSlidingWindow(l Limit) (algorithm, error) {
	if err := l.noCalendar(); err != nil {
		return nil, err
	}
	if err := l.noBurst(); err != nil {
		return nil, err
	}
	w := new(slidingWindow)
	return w, fitTicks(l, func(tick int64) bool {
		us := l.Interval.Microseconds()
		*w = slidingWindow{tick: tick, length: us / tick, most: l.Rate}
		all, ok := mul(w.most, w.length)
		return us%tick == 0 && ok && all <= MaxCount/2 // two windows are added up
	})
}

func (w *slidingWindow) open(m Mark, now int64) (State, bool) {
	if m.form != formSliding {
		return State{}, false
	}
	start := w.start(now)
	length := w.length * w.tick
	if m.tick != length {
		// The length was changed: what was admitted counts for this window.
		return State{min(m.more[0]+m.more[1], w.most)}, true
	}
	switch {
	case m.at == start:
		return w.clamp(m.more[0], m.more[1])
	case m.at == start-length:
		return w.clamp(0, m.more[0])
	case m.at > start: // the clock went back
		s, _ := w.clamp(m.more[0], m.more[1])
		return s, true
	}
	return State{}, false
}

// clamp returns counters that fit the limit, and whether they did not.
func (w *slidingWindow) clamp(current, previous int64) (State, bool) {
	s := State{min(current, w.most), min(previous, w.most)}
	return s, s != State{current, previous}
}

func (w *slidingWindow) mark(s State, now int64) Mark {
	m := Mark{form: formSliding, at: w.start(now), more: s, tick: w.length * w.tick}
	m.Until = m.until()
	return m
}

// start returns when the window of now began, in microseconds.
func (w *slidingWindow) start(now int64) int64 { return now - now%(w.length*w.tick) }

// passed returns how many whole ticks of the window have passed.
func (w *slidingWindow) passed(now int64) int64 { return now % (w.length * w.tick) / w.tick }

func (w *slidingWindow) has(s State, cost, now int64) bool {
	return cost*w.length <= max(0, w.free(s, now)) // a look is always granted
}

func (w *slidingWindow) take(s State, cost int64) State { return State{s[0] + cost, s[1]} }

// give takes back what was admitted in this window; the previous one is past.
func (w *slidingWindow) give(s State, cost int64) State { return State{max(0, s[0]-cost), s[1]} }

func (w *slidingWindow) undo(s State, cost, taken, now int64) State {
	if w.stamp(taken) != w.start(now) {
		return s
	}
	return w.give(s, cost)
}

func (w *slidingWindow) stamp(taken int64) int64 { return w.start(taken) }

func (w *slidingWindow) level(s State, cost, now int64) Level {
	free := w.free(s, now)
	l := Level{
		Admitted:  w.has(s, cost, now),
		Remaining: max(0, free) / w.length,
	}
	if m := w.mark(s, now); !s.Full() {
		l.ResetAfter = time.Duration(m.Until-now) * time.Microsecond
	}
	if !l.Admitted {
		l.RetryAfter = w.retry(s, cost, now)
	}
	return l
}

// free returns how many token-ticks are not used at now. It may be negative
// when the limit was lowered or the clock went back.
func (w *slidingWindow) free(s State, now int64) int64 {
	return w.most*w.length - s[0]*w.length - s[1]*(w.length-w.passed(now))
}

// retry returns the time until cost tokens are free: in this window, when
// enough of the previous one has slid out; else in the next, of which this
// one is the previous.
func (w *slidingWindow) retry(s State, cost, now int64) time.Duration {
	start := w.start(now)
	at := start
	if left := w.most - s[0] - cost; left >= 0 {
		// The previous window may weigh left*length: that is when
		// s[1]*(length-passed) <= left*length.
		at += (w.length - left*w.length/max(1, s[1])) * w.tick
	} else {
		at += w.length * w.tick
		if left := w.most - cost; s[0] > 0 {
			at += max(0, w.length-left*w.length/s[0]) * w.tick
		}
	}
	return time.Duration(max(at-now, 1)) * time.Microsecond
}

func (w *slidingWindow) capacity() int64 { return w.most }

func (w *slidingWindow) window() time.Duration {
	return time.Duration(2*w.length*w.tick) * time.Microsecond
}

func (w *slidingWindow) delay(State, int64) time.Duration { return 0 }

func (w *slidingWindow) width() int { return 2 }

func (w *slidingWindow) args(int64) []int64 { return []int64{w.most, w.length, w.tick} }
