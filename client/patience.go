package client

import (
	"context"
	"time"
)

// look lets checks go that must not wait for the replies to others any longer.
func (b *batcher) look() {
	now := time.Now()
	b.mu.Lock()
	b.watching = false
	for _, m := range b.sent {
		if now.Sub(m.taken) >= patience {
			b.release(m)
		}
	}
	b.mu.Unlock()
	b.flush()
}

// bound sees to it that the wait for p ends. b.mu is locked.
func (b *batcher) bound(p *pending, now time.Time) {
	if p.own && !b.expiring {
		b.expiring = true
		b.expiry.Reset(p.deadline.Sub(now))
	}
}

// expire ends the wait of callers whose contexts have no deadline.
func (b *batcher) expire() {
	now := time.Now()
	var next time.Time // of the deadlines to come, the first
	overdue := func(p *pending) bool {
		if !p.own {
			return false
		}
		due := !p.deadline.After(now)
		if !due && (next.IsZero() || p.deadline.Before(next)) {
			next = p.deadline
		}
		return due
	}
	b.mu.Lock()
	queued := b.queue.drop(overdue)
	var sent []*pending
	for _, m := range b.sent {
		if !m.encoded {
			next = now // its checks are being read, so they have to wait
			continue
		}
		sent = append(sent, m.drop(overdue)...)
		if m.waiting == 0 {
			b.remove(m)
			b.release(m)
		}
	}
	if b.expiring = !next.IsZero(); b.expiring {
		b.expiry.Reset(max(time.Millisecond, next.Sub(now)))
	}
	b.mu.Unlock()
	waited := func(p *pending) time.Duration { return now.Sub(p.deadline.Add(-b.client.timeout)) }
	for _, p := range queued {
		p.answer(Result{}, errQueued(context.DeadlineExceeded, waited(p)))
	}
	for _, p := range sent {
		p.answer(Result{}, b.client.fromNATS(b.subject, context.DeadlineExceeded, waited(p)))
	}
	b.flush()
}
