package client

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// ErrLeaseClosed is returned by [Lease.Take] after [Lease.Close].
var ErrLeaseClosed = errors.New("ratelimit: the lease is closed")

// Lease takes tokens of one key ahead and spends them in this process, so that
// most calls of [Lease.Take] ask nobody. It is safe for concurrent use, and
// must be closed.
type Lease struct {
	c     *Client
	key   string
	check []CheckOption
	hold  time.Duration
	most  int64
	start time.Time // of its clock

	// What a Take that asks nobody looks at. The tokens have a cache line of
	// their own, since every Take writes there.
	_      [64]byte
	tokens atomic.Int64 // that can be spent
	_      [64]byte
	open   atomic.Int64 // until when, by the clock; 0 while callers wait in line
	low    atomic.Int64 // with fewer tokens than that, more are asked for
	denied atomic.Pointer[denial]
	direct atomic.Bool // every Take asks for itself

	wake  chan struct{} // holds a token when the loop has something to look at
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the loop has returned
	ctx   context.Context
	abort context.CancelFunc
	backs sync.WaitGroup // refunds under way

	mu      sync.Mutex // guards what follows; only with it do tokens grow
	closed  bool
	line    list.List // of *waiter
	joined  uint64    // how many ever stood in line
	chunks  []chunk   // what brought the tokens, in the order of asking
	sum     int64     // of the chunks: tokens and what was spent since settle
	used    int64     // spent since asked
	asked   time.Duration
	ahead   int64         // how many to take ahead, as far as demand goes
	left    int64         // what the bucket had, as of heard
	burst   int64         // more than that cannot be asked for
	heard   time.Duration // 0 if nothing is known
	narrow  bool          // ask for the first in line only
	spaced  string        // the limit whose algorithm made the lease direct
	lost    error         // why the last refund failed
	refused bool          // refunds are not permitted
}

// denial is a denial that holds for everybody who wants as many tokens.
type denial struct {
	cost  int64
	until time.Duration // when to ask again
	retry time.Duration // when the bucket would have the tokens
}

// Taken is the answer to [Lease.Take].
type Taken struct {
	// Allowed reports whether the tokens were taken.
	Allowed bool

	// RetryAfter is how long to wait before the same call could be allowed;
	// 0 if it was, and if waiting does not help.
	RetryAfter time.Duration

	// Delay is how long to wait before proceeding, as in [Result].
	Delay time.Duration
}

// Lease starts a lease on the bucket of key. It asks the service once, without
// taking a token, and fails as a [Client.Check] would; ctx bounds that call
// and nothing else. Options are those of Check without [WithCost],
// [WithHoldTime] and [WithMaxHeld].
func (c *Client) Lease(ctx context.Context, key string, opts ...LeaseOption) (*Lease, error) {
	cfg, r, err := newLeaseConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: lease %q: %w", wire.JoinKey(c.prefix, key), fromWire(err))
	}
	l := &Lease{
		c: c, key: key, check: cfg.check[:len(cfg.check):len(cfg.check)], hold: cfg.hold, most: cfg.most,
		start: time.Now().Add(-1), // so that its clock is never 0
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	// A check that takes nothing needs no other permission than those to come.
	res, err := c.Check(ctx, key, withCost(l.check, 0)...)
	if err != nil {
		return nil, err
	}
	l.asked = l.now()
	l.hear(&res)
	if r.Algorithm == wire.AlgorithmLeakyBucket {
		l.spaced = limitOf(&res)
		l.direct.Store(true)
	}
	l.ctx, l.abort = context.WithCancel(context.WithoutCancel(ctx))
	go l.loop()
	return l, nil
}

// Take takes n tokens, at least 1, of those that the lease holds, which takes
// nanoseconds; denials that are known are answered as fast. Otherwise it asks
// the service, or waits for somebody who does, until ctx is done; without a
// deadline it waits for the time of [WithTimeout].
//
// Errors are those of [Client.Check], and [ErrLeaseClosed]. One that says that
// there was no answer in time means that the tokens may have been charged, and
// are lost if so.
func (l *Lease) Take(ctx context.Context, n int64) (Taken, error) {
	now := l.now()
	if now < time.Duration(l.open.Load()) && l.spend(n) {
		return Taken{Allowed: true}, nil
	}
	if d := l.denied.Load(); d != nil && n >= d.cost && now < d.until {
		return Taken{RetryAfter: max(0, d.retry-now)}, nil
	}
	return l.queue(ctx, n)
}

// Held returns how many tokens the lease holds: charged, and neither spent nor
// given back.
func (l *Lease) Held() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(l.now())
	return l.tokens.Load()
}

// Close gives the tokens back that the lease holds, as far as that is right,
// and ends it. Those who wait in Take get [ErrLeaseClosed]. The error says
// that tokens are lost, because a refund failed or ctx ended first; the bucket
// then refills without it. Closing again does nothing.
func (l *Lease) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.open.Store(0)
	for l.line.Len() > 0 {
		l.answer(l.line.Front(), Taken{}, ErrLeaseClosed)
	}
	l.mu.Unlock()
	close(l.stop)

	// What is under way ends, and brings its tokens; at the latest with ctx.
	unhook := context.AfterFunc(ctx, l.abort)
	defer unhook()
	<-l.done
	l.mu.Lock()
	now := l.now()
	l.settle(now)
	if !l.refused {
		l.lost = nil // of earlier
	}
	for i := range l.chunks {
		// Whoever is past the look at the clock may still spend a token.
		k := l.chunks[i].left
		for {
			tokens := l.tokens.Load()
			if k = min(k, tokens); l.tokens.CompareAndSwap(tokens, tokens-k) {
				break
			}
		}
		l.chunks[i].left = k
		l.giveBack(&l.chunks[i], now)
	}
	l.chunks, l.sum = nil, 0
	l.denied.Store(nil)
	l.mu.Unlock()
	l.backs.Wait()
	l.abort()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// now is the clock of the lease, which never jumps.
func (l *Lease) now() time.Duration { return time.Since(l.start) }

// spend takes n of the tokens, if there are as many.
func (l *Lease) spend(n int64) bool {
	if n < 1 {
		return false
	}
	for {
		tokens := l.tokens.Load()
		if tokens < n {
			return false
		}
		if l.tokens.CompareAndSwap(tokens, tokens-n) {
			if low := l.low.Load(); tokens >= low && tokens-n < low {
				l.poke()
			}
			return true
		}
	}
}

// poke makes the loop look.
func (l *Lease) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
