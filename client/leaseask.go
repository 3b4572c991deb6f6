package client

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

const (
	// aheadFor is how long tokens taken ahead should last: long beside the
	// time an answer takes, and short beside the time a person notices.
	aheadFor = 20 * time.Millisecond

	// share is the part of the tokens in the bucket that a lease may hold, as
	// a divisor.
	share = 4

	// forever is a time that can be added to another.
	forever time.Duration = math.MaxInt64 / 2
)

// loop asks for tokens when somebody waits for them or few are left, and gives
// back what was held for too long. It alone asks, except in a direct lease.
func (l *Lease) loop() {
	defer close(l.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-l.wake:
		case <-timer.C:
		}
		for l.ask() {
			select {
			case <-l.stop:
				return
			default:
			}
		}
		l.mu.Lock()
		end := time.Hour
		for i := range l.chunks {
			end = min(end, max(0, l.chunks[i].end-l.now()))
		}
		l.mu.Unlock()
		timer.Reset(end)
	}
}

// ask makes one check, if there is a reason to, and reports whether there was.
func (l *Lease) ask() bool {
	l.mu.Lock()
	now := l.now()
	l.settle(now)
	l.serve(0, 0)
	l.publish()
	cost, last := l.plan(now), l.joined
	l.mu.Unlock()
	if cost == 0 {
		return false
	}
	res, err := l.c.Check(l.ctx, l.key, withCost(l.check, cost)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(l.now())
	first := l.firstNeeds()
	alone := first == 0 || cost <= first
	l.narrow = false
	switch {
	case err != nil:
		l.narrow = !alone && errors.Is(err, ErrCostExceedsBurst)
		if !l.narrow {
			l.fail(last, err)
		}
	case !res.Allowed:
		l.hear(&res)
		l.deny(cost+l.tokens.Load(), &res)
		l.narrow = !alone
	default:
		l.hear(&res)
		l.grant(now, cost, &res)
	}
	l.publish()
	return true
}

// plan decides how many tokens to ask for at now: for those in line, and as
// many ahead as demand, the bucket and the options say. It needs l.mu, and
// everybody in line who could be served to have been.
func (l *Lease) plan(now time.Duration) int64 {
	first, tokens := l.firstNeeds(), l.tokens.Load()
	if l.narrow {
		return first
	}
	if first == 0 && (tokens >= l.low.Load() || l.closed) {
		return 0
	}
	known := l.heard > 0 && now-l.heard < l.hold
	l.adapt(now)
	// For as many of the line as the bucket had tokens for, and the first.
	need := first
	if first > 0 {
		for e := l.line.Front().Next(); e != nil; e = e.Next() {
			n := e.Value.(*waiter).n
			if n > l.burst-need || known && need+n > l.left {
				break
			}
			need += n
		}
	}
	if !known || l.direct.Load() {
		return need
	}
	ahead := min(l.ahead, l.most-tokens, (l.left-need)/share-tokens, l.burst-need)
	return need + max(0, ahead)
}

// adapt sets how many tokens to take ahead: what is used in aheadFor, to which
// it comes near in steps of a factor of 2, because callers who had to wait
// would have used more.
func (l *Lease) adapt(now time.Duration) {
	since := max(1, now-l.asked)
	want := float64(l.used) * float64(aheadFor) / float64(since)
	l.ahead = int64(min(max(want, float64(l.ahead)/2), float64(2*l.ahead+1)))
	l.ahead = min(l.ahead, unbounded)
	l.asked, l.used = now, 0
}

// firstNeeds returns how many tokens the first in line lacks, 0 if there is
// nobody. It needs l.mu.
func (l *Lease) firstNeeds() int64 {
	if l.line.Len() == 0 {
		return 0
	}
	return max(1, l.line.Front().Value.(*waiter).n-l.tokens.Load())
}

// grant takes in what a check sent at sent brought. It needs l.mu.
func (l *Lease) grant(sent time.Duration, cost int64, res *Result) {
	l.denied.Store(nil)
	ch := newChunk(sent, l.hold, cost, l.check, res)
	l.chunks = append(l.chunks, ch)
	l.sum += cost
	l.tokens.Add(cost)
	var fill time.Duration
	if res.Delay > 0 {
		fill = res.Window / time.Duration(max(1, res.Limit))
	}
	l.serve(res.Delay, fill)
	if res.Delay > 0 {
		// The limit spaces its callers, so nothing can be taken ahead.
		l.spaced = limitOf(res)
		l.direct.Store(true)
		for i := range l.chunks {
			l.chunks[i].end = 0
		}
		for l.line.Len() > 0 {
			// They ask for themselves.
			l.answer(l.line.Front(), Taken{}, errDirect)
		}
	}
	l.settle(l.now())
	l.low.Store(l.tokens.Load() / 2)
}

// serve gives tokens to those in line, in their order. The first is to wait
// for delay, and the next for fill longer with each token. It needs l.mu.
func (l *Lease) serve(delay, fill time.Duration) {
	for l.line.Len() > 0 {
		front := l.line.Front()
		n := front.Value.(*waiter).n
		if !l.spend(n) {
			return
		}
		l.answer(front, Taken{Allowed: true, Delay: delay}, nil)
		delay += time.Duration(n) * fill
	}
}

// deny takes in that a check of cost was denied. It needs l.mu.
func (l *Lease) deny(cost int64, res *Result) {
	now := l.now()
	wait := l.hold
	if res.RetryAfter > 0 {
		wait = min(wait, res.RetryAfter)
	}
	l.denied.Store(&denial{cost: cost, until: now + wait, retry: now + min(res.RetryAfter, forever)})
	for e := l.line.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*waiter).n >= cost {
			l.answer(e, Taken{RetryAfter: res.RetryAfter}, nil)
		}
		e = next
	}
}

// fail takes in that a check was not decided, which is told to those who stood
// in line when it was sent, up to the one called last: for others there is
// another try. It needs l.mu.
func (l *Lease) fail(last uint64, err error) {
	l.heard = 0
	for l.line.Len() > 0 && l.line.Front().Value.(*waiter).number <= last {
		l.answer(l.line.Front(), Taken{}, err)
		if errors.Is(err, ErrCostExceedsBurst) {
			return // the others may ask for less
		}
	}
}

// hear takes in what a reply says of the bucket. It needs l.mu.
func (l *Lease) hear(res *Result) {
	l.heard, l.left, l.burst = l.now(), res.Remaining, unbounded
	if res.Allowed && (res.Limit == 0 || res.WouldDeny) {
		l.left = unbounded // nothing is counted
	}
	if res.Limit > 0 {
		for _, s := range limitsOf(res) {
			l.burst = min(l.burst, s.Limit)
		}
	}
}

// giveBack gives the tokens of a chunk back that were not spent. It needs
// l.mu.
func (l *Lease) giveBack(ch *chunk, now time.Duration) {
	n, opts := ch.giveable(now), ch.opts
	if n == 0 || l.refused {
		return
	}
	l.backs.Go(func() {
		// Not again if it fails: it may have been carried out.
		_, err := l.c.Refund(l.ctx, l.key, withCost(opts, n)...)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			l.lost = err
			l.refused = l.refused || errors.Is(err, ErrPermission)
		}
	})
}

// errDirect tells who waits in line to ask for himself.
var errDirect = errors.New("the lease is direct")

// withCost returns the options of a check of n tokens.
func withCost(opts []CheckOption, n int64) []CheckOption {
	return append(opts[:len(opts):len(opts)], WithCost(n))
}

// limitOf tells limits apart.
func limitOf(res *Result) string { return res.Policy + "\x00" + res.LimitName }

// errGaveUp is for a caller who did not wait any longer, while somebody else
// asks.
func errGaveUp(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{
		Code:    wire.CodeDeadlineExceeded,
		Message: "no answer in time; if one comes, its tokens stay with the lease",
		causes:  []error{err},
	}
}
