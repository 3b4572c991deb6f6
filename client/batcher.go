package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

const (
	// few checks under way let another one go at once. With more of them it is
	// cheaper for all, and on a busy machine sooner for each, to go together.
	few = 4

	// maxInFlight bounds the full messages that wait for their replies.
	maxInFlight = 4

	// patience is how long a message counts as under way. A worker that hangs,
	// or a link that is long, must not hold up what others could do.
	patience = 5 * time.Millisecond
)

// batcher sends the checks of many callers in few messages. While a few checks
// are under way, another one is sent at once and alone. Otherwise it waits in
// the queue until a reply arrives and those whom it answers have asked again,
// or until the queue fills a message. So nothing waits for company that is not
// there, and messages grow by themselves as there is more to do.
//
// The work is done by those who are there anyway: a caller who submits or
// leaves, and the goroutine in which nats.go delivers replies.
type batcher struct {
	client   *Client
	subject  string
	checks   sync.Pool // of *pending
	messages sync.Pool // of *message

	inbox   atomic.Pointer[inbox] // nil until the first check
	listens sync.Mutex            // held to set inbox
	payload atomic.Int64          // bytes that the server takes in a message

	mu       sync.Mutex // guards what follows
	queue    queue
	sent     map[uint64]*message // those that wait for their replies
	lastID   uint64
	inFlight int // how many of them count as under way
	underWay int // checks in these
	most     int // checks in a message, see split

	// watch calls look while checks wait to be sent, and expiry calls expire at
	// the first of the deadlines that are our own: a timer for each check would
	// cost more than all the rest.
	watch, expiry      *time.Timer
	watching, expiring bool
}

func newBatcher(c *Client) *batcher {
	b := &batcher{
		client:  c,
		subject: wire.Subject(wire.VerbCheck, c.prefix),
		sent:    map[uint64]*message{},
		most:    wire.MaxChecks,
	}
	b.checks.New = func() any { return newPending() }
	b.messages.New = func() any { return new(message) }
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
	deadline, ok := ctx.Deadline()
	if p.deadline, p.own = deadline, !ok; p.own {
		p.deadline = start.Add(b.client.timeout)
	}
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
	b.bound(p, now)
	m := b.take(now)
	b.mu.Unlock()
	if m != nil {
		b.send(m)
		b.flush()
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
	m := b.sent[p.message]
	idle := false
	if m != nil {
		// A message that nobody waits for any more makes room for another.
		m.waiting--
		if idle = m.waiting == 0; idle {
			b.remove(m)
			b.release(m)
		}
	}
	b.mu.Unlock()
	if idle {
		b.flush()
	}
	return queued
}

// take makes a message of what is queued, or returns nil if none may go now.
// b.mu is locked; the message is sent after it is unlocked.
func (b *batcher) take(now time.Time) *message {
	if b.queue.n == 0 {
		return nil
	}
	full := b.queue.n >= b.most && b.inFlight < maxInFlight
	if b.underWay >= few && !full {
		if !b.watching {
			b.watching = true
			b.watch.Reset(patience)
		}
		return nil
	}
	b.lastID++
	m := b.messages.Get().(*message)
	m.start(b.lastID, now, b.most, b.payload.Load())
	for p := b.queue.first; p != nil && m.add(p); p = b.queue.first {
		b.queue.remove(p)
		p.state, p.message = stateSent, m.id
	}
	b.inFlight++
	b.underWay += len(m.checks)
	b.sent[m.id] = m
	return m
}

// release makes m count as under way no longer. b.mu is locked.
func (b *batcher) release(m *message) {
	if m.counts {
		m.counts = false
		b.inFlight--
		b.underWay -= len(m.checks)
	}
}

// remove ends the wait for the reply to m, and reports whether it had not
// ended already: who ends it has to answer the callers. b.mu is locked.
func (b *batcher) remove(m *message) bool {
	ours := b.sent[m.id] == m
	if ours {
		delete(b.sent, m.id)
	}
	return ours
}

// flush sends what is queued in as many messages as may go now.
func (b *batcher) flush() {
	for {
		b.mu.Lock()
		m := b.take(time.Now())
		b.mu.Unlock()
		if m == nil {
			return
		}
		b.send(m)
	}
}
