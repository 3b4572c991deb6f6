package client

import (
	"math"
	"slices"
	"time"
)

// chunk is what one check brought: tokens that are charged and not spent.
// Times are on the clock of the lease, counted from when the check was sent,
// so that they end too early rather than too late.
type chunk struct {
	left int64
	end  time.Duration // when they may not be spent any more

	// Until back they can be given back, but only as many as have not come
	// back to the bucket by themselves: one each fill, the last one at back.
	// It is 0 if they cannot.
	back time.Duration
	fill time.Duration // 0 if they come back together

	opts []CheckOption // of the refund
}

// newChunk returns what a check brought that was made with opts and a cost, to
// be held for as long as hold.
func newChunk(sent, hold time.Duration, cost int64, opts []CheckOption, res *Result) chunk {
	ch := chunk{left: cost, end: sent + hold}
	// What was not charged must not be given back, nor what was charged to a
	// bucket other than the one that would get it.
	if res.Limit == 0 || res.Degraded || res.WouldDeny {
		return ch
	}
	ch.back, ch.opts = math.MaxInt64, opts
	if res.Policy != "" {
		// Should the policy have changed by then, this names no bucket that
		// anybody uses.
		ch.opts = []CheckOption{WithPolicy(res.Policy)}
	}
	for _, s := range limitsOf(res) {
		// Replies are rounded up to a millisecond.
		reset := sent + min(s.ResetAfter, forever) - time.Millisecond
		if s.refills() {
			ch.back = min(ch.back, reset)
			ch.fill = max(ch.fill, s.fill())
			continue
		}
		// What was not spent in a window ends with it. A sliding window says
		// when the next one ends: this one does half of Window earlier.
		ch.end = min(ch.end, reset)
		if s.ResetAfter > s.Window/2 {
			reset -= s.Window / 2
		}
		ch.back = min(ch.back, reset)
	}
	return ch
}

// limitsOf returns all limits of a result, which may be one.
func limitsOf(res *Result) []LimitStatus {
	if res.Limits != nil {
		return res.Limits
	}
	return []LimitStatus{{res.LimitName, res.Limit, res.Remaining, res.RetryAfter, res.ResetAfter, res.Window}}
}

// fill returns how long a bucket takes for one token, rounded up.
func (s *LimitStatus) fill() time.Duration {
	return s.Window/time.Duration(max(1, s.Limit)) + 1
}

// refills reports whether the figures are those of a bucket that refills
// evenly, rather than of a window that ends.
func (s *LimitStatus) refills() bool {
	missing := float64(s.Limit-s.Remaining) / float64(max(1, s.Limit)) * float64(s.Window)
	off := s.ResetAfter - time.Duration(missing)
	return off.Abs() <= s.fill()+2*time.Millisecond
}

// giveable returns how many tokens of the chunk can be given back at now.
func (ch *chunk) giveable(now time.Duration) int64 {
	switch {
	case now >= ch.back:
		return 0
	case ch.fill == 0:
		return ch.left
	}
	// Rounded up: of a token that is coming back, a part is missing still.
	return min(ch.left, int64((ch.back-now-1)/ch.fill)+1)
}

// settle finds out what was spent, oldest first, and takes the tokens away
// that have been held for too long. They are given back. It needs l.mu.
func (l *Lease) settle(now time.Duration) {
	for {
		tokens := l.tokens.Load() // others can only spend them meanwhile
		spent := l.sum - tokens
		l.sum, l.used = tokens, l.used+spent
		for spent > 0 {
			n := min(spent, l.chunks[0].left)
			l.chunks[0].left -= n
			spent -= n
			if l.chunks[0].left == 0 {
				l.chunks = slices.Delete(l.chunks, 0, 1)
			}
		}
		var over int64
		for i := range l.chunks {
			if now >= l.chunks[i].end {
				over += l.chunks[i].left
			}
		}
		if over == 0 {
			return
		}
		if !l.tokens.CompareAndSwap(tokens, tokens-over) {
			continue
		}
		l.sum -= over
		l.chunks = slices.DeleteFunc(l.chunks, func(ch chunk) bool {
			if now < ch.end {
				return false
			}
			l.giveBack(&ch, now)
			return true
		})
		return
	}
}
