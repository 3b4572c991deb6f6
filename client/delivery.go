package client

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// send publishes a message that was taken.
func (b *batcher) send(m *message) {
	m.encode(time.Now())
	b.mu.Lock()
	wanted := b.sent[m.id] == m
	m.encoded = true
	b.mu.Unlock()
	if wanted { // else all callers have left
		if err := b.publish(m); err != nil {
			b.fail(m, err)
		}
		b.free(m)
	}
}

// publish publishes m, also for a second time.
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

// fail answers the callers of m with an error, if nobody has answered them.
func (b *batcher) fail(m *message, err error) {
	b.mu.Lock()
	ours := b.remove(m)
	b.mu.Unlock()
	if !ours {
		return
	}
	// The bound of another server, perhaps, to which the connection has moved.
	split := errors.Is(err, nats.ErrMaxPayload) && len(m.checks) > 1
	if !split {
		m.fail(err)
	}
	b.finish(m, split)
}

// finish ends the way of m after its callers were answered, unless its checks
// are to be sent in smaller messages.
func (b *batcher) finish(m *message, split bool) {
	b.mu.Lock()
	if split {
		b.split(m, time.Now())
	} else if len(m.checks) == b.most && b.most < wire.MaxChecks {
		b.most++
	}
	b.release(m)
	b.mu.Unlock()
	b.free(m)
}

// split queues the checks of m again. A worker refuses a message as a whole,
// before it decides any of it, when the reply might be larger than its server
// takes; how large that is depends on policies that only workers know. So the
// next messages are smaller, and grow again by one at a time. b.mu is locked.
func (b *batcher) split(m *message, now time.Time) {
	b.most = min(b.most, (len(m.checks)+1)/2)
	for i := len(m.checks) - 1; i >= 0; i-- {
		if p := m.checks[i]; p != nil && p.state == stateSent {
			p.message = 0
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
		b.messages.Put(m)
	}
}
