package client

import (
	"container/list"
	"context"
	"fmt"

	"github.com/quotaworker/ratelimit/client/wire"
)

// waiter waits in line for tokens.
type waiter struct {
	n      int64
	number uint64
	done   chan struct{} // closed when the rest is set
	taken  Taken
	err    error
}

// queue is Take when the tokens are not there: it waits in line.
func (l *Lease) queue(ctx context.Context, n int64) (Taken, error) {
	if n < 1 || n > unbounded {
		return Taken{}, l.failed(wire.Errorf(wire.CodeInvalidRequest, "take %d: must be between 1 and 2^53 tokens", n))
	}
	if err := ctx.Err(); err != nil {
		return Taken{}, l.failed(errNotSent(err))
	}
	if l.direct.Load() {
		return l.one(ctx, n)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return Taken{}, ErrLeaseClosed
	}
	now := l.now()
	l.settle(now)
	if l.line.Len() == 0 && l.spend(n) {
		l.publish()
		l.mu.Unlock()
		return Taken{Allowed: true}, nil
	}
	if d := l.denied.Load(); d != nil && n >= d.cost && now < d.until {
		l.mu.Unlock()
		return Taken{RetryAfter: max(0, d.retry-now)}, nil
	}
	l.joined++
	w := &waiter{n: n, number: l.joined, done: make(chan struct{})}
	place := l.line.PushBack(w)
	l.publish()
	l.mu.Unlock()
	l.poke()

	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.c.timeout)
		defer cancel()
	}
	select {
	case <-w.done:
		if w.err == errDirect {
			return l.one(ctx, n)
		}
		return w.taken, w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.done: // just now
		return w.taken, w.err
	default:
	}
	l.line.Remove(place)
	l.publish()
	return Taken{}, l.failed(errGaveUp(ctx.Err()))
}

// one asks for one caller, who is told for how long to wait.
func (l *Lease) one(ctx context.Context, n int64) (Taken, error) {
	select {
	case <-l.stop:
		return Taken{}, ErrLeaseClosed
	default:
	}
	res, err := l.c.Check(ctx, l.key, withCost(l.check, n)...)
	if err != nil {
		return Taken{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear(&res)
	if !res.Allowed {
		l.deny(n, &res)
	} else if res.Delay == 0 && limitOf(&res) != l.spaced {
		l.direct.Store(false)
	}
	return Taken{Allowed: res.Allowed, RetryAfter: res.RetryAfter, Delay: res.Delay}, nil
}

// answer answers the waiter at place, who leaves the line. It needs l.mu.
func (l *Lease) answer(place *list.Element, taken Taken, err error) {
	w := l.line.Remove(place).(*waiter)
	w.taken, w.err = taken, err
	close(w.done)
}

// publish says until when tokens can be spent past the line: not while
// somebody stands there. It needs l.mu.
func (l *Lease) publish() {
	if l.closed || l.line.Len() > 0 || len(l.chunks) == 0 {
		l.open.Store(0)
		return
	}
	end := l.chunks[0].end
	for i := range l.chunks {
		end = min(end, l.chunks[i].end)
	}
	l.open.Store(int64(end))
}

// failed adds to an error what it is about.
func (l *Lease) failed(err error) error {
	if e, ok := err.(*wire.Error); ok {
		err = fromWire(e)
	}
	return fmt.Errorf("ratelimit: lease %q: %w", wire.JoinKey(l.c.prefix, l.key), err)
}
