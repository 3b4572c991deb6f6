package client

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// inbox is where the replies to a batcher's messages arrive. Each message has
// a subject of its own there, so that a late reply, or a second one, is never
// taken for the reply to another message.
type inbox struct {
	prefix string
	sub    *nats.Subscription
}

// listen subscribes to an inbox if there is none.
func (b *batcher) listen() error {
	if b.inbox.Load() != nil {
		return nil
	}
	b.listens.Lock()
	defer b.listens.Unlock()
	if b.inbox.Load() != nil {
		return nil
	}
	if err := b.client.connected(); err != nil {
		return err
	}
	nc := b.client.nc
	in := &inbox{prefix: nc.NewInbox() + "."}
	sub, err := nc.Subscribe(in.prefix+"*", func(msg *nats.Msg) { b.receive(in, msg) })
	if err != nil {
		return b.client.fromNATS(b.subject, err, 0)
	}
	in.sub = sub
	sub.SetClosedHandler(func(string) { b.closed(in) })
	b.payload.Store(nc.MaxPayload())
	b.inbox.Store(in)
	return nil
}

// replyTo returns the subject for the reply to a message.
func (in *inbox) replyTo(id uint64) string {
	return in.prefix + strconv.FormatUint(id, 36)
}

// receive takes what arrives in the inbox. It is never called twice at a time.
func (b *batcher) receive(in *inbox, msg *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, in.prefix), 36, 64)
	if err != nil {
		return
	}
	b.mu.Lock()
	m := b.sent[id]
	if m == nil || !m.encoded {
		b.mu.Unlock()
		return // nobody waits for it any more
	}
	again := noResponders(msg) && !m.repeated
	m.repeated = m.repeated || again
	if !again {
		b.remove(m)
	}
	b.mu.Unlock()

	if again {
		// Nobody has seen the message, so it is safe to repeat. A worker that
		// was just being replaced is there by now.
		if err := b.publish(m); err != nil {
			b.fail(m, err)
			b.flush()
		}
		return
	}
	refused := m.answer(b, msg)
	b.gather()
	b.finish(m, refused)
	b.flush()
}

// gather lets others run, a few times as long as that brings more checks into
// the queue: those who were just answered may have more to ask, and then it is
// cheaper for all to go together. With nobody else to run it takes no time.
func (b *batcher) gather() {
	queued := -1
	for range 4 {
		b.mu.Lock()
		n := b.queue.n
		b.mu.Unlock()
		if n == queued {
			return
		}
		queued = n
		runtime.Gosched()
	}
}

// hangUp ends the subscription, if there is one.
func (b *batcher) hangUp() {
	if in := b.inbox.Load(); in != nil {
		// The error says that somebody else has done so.
		_ = in.sub.Unsubscribe()
	}
}

// closed is called when the inbox is gone: the connection was closed, is being
// drained, or the client hung up.
func (b *batcher) closed(in *inbox) {
	b.inbox.CompareAndSwap(in, nil)
	b.mu.Lock()
	var lost []*message
	for _, m := range b.sent {
		if m.encoded {
			lost = append(lost, m)
		}
	}
	b.mu.Unlock()
	for _, m := range lost {
		b.fail(m, errLost(nats.ErrConnectionClosed))
	}
	b.flush()
}

// noResponders reports whether msg is how the NATS server says that nobody
// listens.
func noResponders(msg *nats.Msg) bool {
	return len(msg.Data) == 0 && msg.Header.Get("Status") == "503"
}
