package client

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// What a check takes in a message beside its key. A reply with several limits
// is larger; see batcher.split.
const (
	requestRoom = len(`{"key":"","timeout_ms":86400000},`)
	replyRoom   = 480
	messageRoom = 256 // for everything but the checks
)

// message is a request with the checks of several callers on its way.
type message struct {
	id     uint64
	checks []*pending   // nil for those that were dropped
	users  atomic.Int32 // see batcher.free
	msg    nats.Msg

	// Guarded by the mutex of the batcher.
	waiting  int       // how many callers still wait
	taken    time.Time // from the queue
	counts   bool      // as under way
	encoded  bool      // its checks are not looked at any more
	repeated bool      // it was sent twice

	most, requestLeft, replyLeft int // what still fits

	request wire.Request
	replies wire.Replies
}

// start makes m a message for up to so many checks and bytes.
func (m *message) start(id uint64, now time.Time, most int, payload int64) {
	m.id, m.taken = id, now
	m.counts = true
	m.users.Store(2)
	m.most = most
	m.requestLeft = int(min(wire.MaxRequest, payload)) - messageRoom
	m.replyLeft = int(payload) - messageRoom
}

// add adds a check if there is room for it. There is always room for one.
func (m *message) add(p *pending) bool {
	m.requestLeft -= requestRoom + p.size
	m.replyLeft -= replyRoom + len(p.full)
	if n := len(m.checks); n > 0 && (n >= m.most || m.requestLeft < 0 || m.replyLeft < 0) {
		return false
	}
	m.checks = append(m.checks, p)
	m.waiting++
	return true
}

// clear makes m ready for another use. It keeps its space.
func (m *message) clear() {
	clear(m.checks)
	m.checks = m.checks[:0]
	m.waiting, m.counts, m.encoded, m.repeated = 0, false, false, false
}

// encode writes the message. It says how long the most patient caller waits, and
// a check whose caller waits clearly less says so itself.
func (m *message) encode(now time.Time) {
	var longest time.Duration
	for _, p := range m.checks {
		longest = max(longest, p.deadline.Sub(now))
	}
	m.request.Checks = m.request.Checks[:0]
	for _, p := range m.checks {
		r := p.request
		if d := p.deadline.Sub(now); d < longest-longest/8 {
			r.TimeoutMS = timeoutMS(d)
		}
		m.request.Checks = append(m.request.Checks, r)
	}
	m.request.TimeoutMS = timeoutMS(longest)
	m.msg.Data = wire.AppendRequest(m.msg.Data[:0], &m.request)
}

// answer gives every caller what msg says, unless it says that the message was
// refused as a whole and would not be in smaller parts.
func (m *message) answer(b *batcher, msg *nats.Msg) (refused bool) {
	if noResponders(msg) {
		m.fail(b.client.fromNATS(b.subject, nats.ErrNoResponders, 0))
		return false
	}
	r := &m.replies
	m.expect()
	err := wire.DecodeRepliesInto(r, msg.Data)
	if err == nil && r.Err == nil {
		err = m.mismatch()
	}
	if r.Err != nil && len(m.checks) > 1 && (r.Err.Code == wire.CodeInvalidRequest || r.Err.Code == wire.CodeInvalidKey) {
		return true
	}
	if err := refusal(b.subject, msg, r.Err, err); err != nil {
		m.fail(err)
		return false
	}
	for i, p := range m.checks {
		reply := &r.Results[i]
		if p == nil {
			continue
		}
		if reply.Err != nil {
			p.answer(Result{}, fromWire(reply.Err))
		} else {
			p.answer(resultOf(reply), nil)
		}
	}
	return false
}

// expect puts the keys where the replies about them are going to be, which
// spares copies of them.
func (m *message) expect() {
	r := &m.replies
	for len(r.Results) < len(m.checks) {
		r.Results = append(r.Results, wire.Reply{})
	}
	for i, p := range m.checks {
		if p != nil {
			r.Results[i].Key = p.full
		}
	}
}

// mismatch says why the results are not about the checks. One too few or too
// many would give a caller the answer to another. The key of a reply is longer
// than ours where the operator of the NATS server maps subjects.
func (m *message) mismatch() error {
	if got, want := len(m.replies.Results), len(m.checks); got != want {
		return fmt.Errorf("%d results for %d checks", got, want)
	}
	for i, p := range m.checks {
		if p == nil {
			continue
		}
		got := m.replies.Results[i].Key
		if got != p.full && got != "" && !strings.HasSuffix(got, "."+p.full) {
			return fmt.Errorf("a result about %q for a check of %q", got, p.full)
		}
	}
	return nil
}

// fail gives every caller the same error.
func (m *message) fail(err error) {
	for _, p := range m.checks {
		if p != nil {
			p.answer(Result{}, err)
		}
	}
}

// drop takes out the checks that are overdue, so that they get no other answer,
// and returns them. The mutex of the batcher is locked.
func (m *message) drop(overdue func(*pending) bool) (dropped []*pending) {
	for i, p := range m.checks {
		if p != nil && p.state == stateSent && overdue(p) {
			m.checks[i] = nil
			m.waiting--
			p.state, p.message = stateLeft, 0
			dropped = append(dropped, p)
		}
	}
	return dropped
}
