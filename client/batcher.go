package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

const (
	// maxInFlight bounds the messages that wait for their replies while further
	// checks wait to be sent. More of them would be smaller ones.
	maxInFlight = 4

	// patience is how long a message counts as one of these. A worker that
	// hangs, or a link that is long, must not hold up what others could do.
	patience = 5 * time.Millisecond
)

// batcher sends the checks of many callers in few messages. While fewer than
// maxInFlight messages wait for their replies, a check is sent at once and
// alone. Otherwise it waits in the queue, and the next reply makes room for a
// message with all that is there. So nothing waits for company, and messages
// grow by themselves as there is more to do.
type batcher struct {
	client  *Client
	subject string
	checks  sync.Pool // of *pending
	letters sync.Pool // of *message

	inbox   atomic.Pointer[inbox] // nil until the first check
	listens sync.Mutex            // held to set inbox
	payload atomic.Int64          // bytes that the server takes in a message

	mu       sync.Mutex // guards what follows
	queue    queue
	messages map[uint64]*message // those that wait for their replies
	lastID   uint64
	inFlight int // how many messages count against maxInFlight
	most     int // checks in a message, see refused

	// watch calls look while checks wait to be sent, and expiry calls expire at
	// the first of the deadlines that are our own: a timer for each check would
	// cost more than all the rest.
	watch, expiry      *time.Timer
	watching, expiring bool
}

func newBatcher(c *Client) *batcher {
	b := &batcher{
		client:   c,
		subject:  wire.Subject(wire.VerbCheck, c.prefix),
		messages: map[uint64]*message{},
		most:     wire.MaxChecks,
	}
	b.checks.New = func() any { return newPending() }
	b.letters.New = func() any { return newMessage() }
	b.watch, b.expiry = stopped(b.look), stopped(b.expire)
	return b
}

// stopped returns a timer that calls f when it is set and has run out.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// check is [Client.Check].
func (b *batcher) check(ctx context.Context, key string, opts []CheckOption) (Result, error) {
	full, err := b.client.fullKey(key)
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s: %w", wire.VerbCheck, fromWire(err))
	}
	p := b.checks.Get().(*pending)
	if err := p.fill(key, full, opts); err != nil {
		b.checks.Put(p)
		return Result{}, fmt.Errorf("ratelimit: %s %q: %w", wire.VerbCheck, full, fromWire(err))
	}
	res, again, err := b.ask(ctx, p)
	if again {
		b.checks.Put(p)
	}
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s %q: %w", wire.VerbCheck, full, err)
	}
	return res, nil
}

// ask has p decided. It reports whether p can be used again: nobody else has
// it any more.
func (b *batcher) ask(ctx context.Context, p *pending) (res Result, again bool, err error) {
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return Result{}, true, errNotSent(err)
	}
	var ok bool
	if p.deadline, ok = ctx.Deadline(); !ok {
		p.deadline = start.Add(b.client.timeout)
	}
	p.own = !ok
	if err := b.listen(); err != nil {
		return Result{}, true, err
	}
	b.submit(p, start)
	if err := p.wait(ctx); err != nil {
		if b.leave(p) {
			return Result{}, true, errQueued(err, time.Since(start))
		}
		return Result{}, false, b.client.fromNATS(b.subject, err, time.Since(start))
	}
	return p.res, true, p.err
}

// submit queues p, and sends what is queued if a message may go now.
func (b *batcher) submit(p *pending, now time.Time) {
	b.mu.Lock()
	b.queue.push(p)
	m := b.take(now)
	b.bound(p, now)
	b.mu.Unlock()
	b.send(m)
}

// bound sees to it that the wait for p ends. b.mu is locked.
func (b *batcher) bound(p *pending, now time.Time) {
	if p.own && !b.expiring {
		b.expiring = true
		b.expiry.Reset(p.deadline.Sub(now))
	}
}

// leave takes p back after its caller has stopped waiting, and reports whether
// it was still in the queue.
func (b *batcher) leave(p *pending) (queued bool) {
	b.mu.Lock()
	if queued = p.state == stateQueued; queued {
		b.queue.remove(p)
	}
	p.state = stateLeft
	var next *message
	if m := b.messages[p.message]; m != nil {
		// A message that nobody waits for any more makes room for another.
		if m.waiting--; m.waiting == 0 {
			b.remove(m)
			b.release(m)
			next = b.take(time.Now())
		}
	}
	b.mu.Unlock()
	b.send(next)
	return queued
}

// take makes a message of what is queued, and returns nil if none may go now.
// The caller has locked b.mu, and sends the message after unlocking.
func (b *batcher) take(now time.Time) *message {
	if b.queue.first == nil {
		return nil
	}
	if b.inFlight >= maxInFlight {
		if !b.watching {
			b.watching = true
			b.watch.Reset(patience)
		}
		return nil
	}
	b.lastID++
	m := b.letters.Get().(*message)
	m.start(b.lastID, now, b.most, b.payload.Load())
	for p := b.queue.first; p != nil && m.add(p); p = b.queue.first {
		b.queue.remove(p)
		p.state, p.message = stateSent, m.id
	}
	b.inFlight++
	b.messages[m.id] = m
	return m
}

// remove ends the wait for the reply to m, and reports whether it had not
// ended already: who ends it has to answer the callers. b.mu is locked.
func (b *batcher) remove(m *message) bool {
	ours := b.messages[m.id] == m
	if ours {
		delete(b.messages, m.id)
	}
	return ours
}

// release makes m count no longer. b.mu is locked.
func (b *batcher) release(m *message) {
	if m.counts {
		m.counts = false
		b.inFlight--
	}
}

// send publishes m, if there is one, and whatever may go after it if that
// fails.
func (b *batcher) send(m *message) {
	for m != nil {
		m.encode(time.Now())
		b.mu.Lock()
		wanted := b.messages[m.id] == m
		m.encoded = true
		b.mu.Unlock()
		if !wanted {
			return // all callers have left
		}
		err := b.publish(m)
		var next *message
		if err != nil {
			next = b.fail(m, err)
		}
		b.free(m)
		m = next
	}
}

// fail answers m with an error if nobody else did, and returns the message
// that goes next.
func (b *batcher) fail(m *message, err error) *message {
	b.mu.Lock()
	ours := b.remove(m)
	b.mu.Unlock()
	if !ours {
		return nil
	}
	// The bound of another server, perhaps, to which the connection has moved.
	split := errors.Is(err, nats.ErrMaxPayload) && len(m.checks) > 1
	if !split {
		m.fail(err)
	}
	return b.finish(m, split)
}

// finish ends the way of m when its callers have been answered, unless it is
// to be split, and returns the message that goes next.
func (b *batcher) finish(m *message, split bool) *message {
	now := time.Now()
	b.mu.Lock()
	if split {
		b.split(m, now)
	} else if len(m.checks) == b.most && b.most < wire.MaxChecks {
		b.most++
	}
	b.release(m)
	next := b.take(now)
	b.mu.Unlock()
	b.free(m)
	return next
}

// split queues the checks of m again, to be sent in smaller messages. A worker
// refuses a message as a whole before it decides any of it, when the reply
// might be larger than its server takes. b.mu is locked.
func (b *batcher) split(m *message, now time.Time) {
	half := (len(m.checks) + 1) / 2
	b.most = min(b.most, half)
	for i := len(m.checks) - 1; i >= 0; i-- {
		if p := m.checks[i]; p != nil && p.state == stateSent {
			p.message, p.most = 0, half
			b.queue.pushFront(p)
			b.bound(p, now)
		}
	}
}

// free is called twice for a message, when it has been published and when it
// has been answered, in any order. Then it can be used again.
func (b *batcher) free(m *message) {
	if m.users.Add(-1) == 0 {
		m.clear()
		b.letters.Put(m)
	}
}

// publish sends m, also for a second time.
func (b *batcher) publish(m *message) error {
	c := b.client
	if err := c.connected(); err != nil {
		return err
	}
	in := b.inbox.Load()
	if in == nil {
		return errNoConnection(nats.ErrConnectionClosed)
	}
	b.payload.Store(c.nc.MaxPayload())
	m.msg.Subject, m.msg.Reply = b.subject, in.replyTo(m.id)
	if err := c.nc.PublishMsg(&m.msg); err != nil {
		return c.fromNATS(b.subject, err, 0)
	}
	return nil
}

// look lets checks go that must not wait for the replies to others any longer.
func (b *batcher) look() {
	now := time.Now()
	b.mu.Lock()
	b.watching = false
	for _, m := range b.messages {
		if now.Sub(m.sent) >= patience {
			b.release(m)
		}
	}
	for m := b.take(now); m != nil; m = b.take(now) {
		b.mu.Unlock()
		b.send(m)
		b.mu.Lock()
	}
	b.mu.Unlock()
}

// expire ends the wait of callers whose contexts have no deadline.
func (b *batcher) expire() {
	now := time.Now()
	var sent, queued []*pending
	var first time.Time // of the deadlines to come
	overdue := func(p *pending) bool {
		if !p.own {
			return false
		}
		if p.deadline.After(now) {
			if first.IsZero() || p.deadline.Before(first) {
				first = p.deadline
			}
			return false
		}
		return true
	}
	b.mu.Lock()
	for p := b.queue.first; p != nil; {
		next := p.next
		if overdue(p) {
			b.queue.remove(p)
			p.state = stateLeft
			queued = append(queued, p)
		}
		p = next
	}
	for _, m := range b.messages {
		if !m.encoded {
			first = now // its checks are being read, so they have to wait
			continue
		}
		sent = append(sent, m.drop(overdue)...)
		if m.waiting == 0 {
			b.remove(m)
			b.release(m)
		}
	}
	if b.expiring = !first.IsZero(); b.expiring {
		b.expiry.Reset(max(time.Millisecond, first.Sub(now)))
	}
	b.mu.Unlock()
	for _, p := range queued {
		p.answer(Result{}, errQueued(context.DeadlineExceeded, b.waited(p, now)))
	}
	for _, p := range sent {
		p.answer(Result{}, b.client.fromNATS(b.subject, context.DeadlineExceeded, b.waited(p, now)))
	}
	b.look()
}

// waited returns how long ago the wait for p began, whose deadline is our own.
func (b *batcher) waited(p *pending, now time.Time) time.Duration {
	return now.Sub(p.deadline.Add(-b.client.timeout))
}
