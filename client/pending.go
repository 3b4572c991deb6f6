package client

import (
	"context"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Where a check is. Guarded by the mutex of the batcher.
const (
	stateQueued = iota + 1
	stateSent
	stateLeft // its caller has stopped waiting
)

// pending is a check and the caller who waits for its answer. After the caller
// has left, it may still be read, and answered to nobody; so it is used again
// only if it was answered, or never sent.
type pending struct {
	request  wire.Request // with the key as the message has it
	full     string       // the key with the client's prefix
	deadline time.Time
	own      bool   // the deadline is not the one of its context
	body     []byte // space to check the request in
	size     int    // of the request beside requestRoom, in bytes

	done chan struct{} // holds a token when the answer is there
	res  Result
	err  error

	// Guarded by the mutex of the batcher.
	state      int
	message    uint64 // that it was sent in
	prev, next *pending
}

func newPending() *pending { return &pending{done: make(chan struct{}, 1)} }

// fill makes p the check of a key, unless a worker would refuse it.
func (p *pending) fill(key, full string, opts []CheckOption) error {
	p.request = wire.Request{Cost: 1}
	p.full, p.size = full, len(key)
	p.message = 0
	if len(opts) > 0 {
		if err := apply(opts, &p.request); err != nil {
			return err
		}
		var err error
		if p.body, err = encode(p.body[:0], &p.request); err != nil {
			return err
		}
		p.size += len(p.body)
	}
	p.request.Key = key
	return nil
}

// wait returns nil when the answer is there, or the error of a context that
// ends before that.
func (p *pending) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer lets the caller go on.
func (p *pending) answer(res Result, err error) {
	p.res, p.err = res, err
	p.done <- struct{}{}
}

// queue is a list of checks, to and from which checks move in any order.
type queue struct {
	first, last *pending
	n           int
}

func (q *queue) push(p *pending) {
	p.state = stateQueued
	p.prev, p.next = q.last, nil
	if q.last == nil {
		q.first = p
	} else {
		q.last.next = p
	}
	q.last = p
	q.n++
}

func (q *queue) pushFront(p *pending) {
	p.state = stateQueued
	p.prev, p.next = nil, q.first
	if q.first == nil {
		q.last = p
	} else {
		q.first.prev = p
	}
	q.first = p
	q.n++
}

func (q *queue) remove(p *pending) {
	if p.prev == nil {
		q.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		q.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	q.n--
}

// drop takes out the checks that are overdue, and returns them.
func (q *queue) drop(overdue func(*pending) bool) (dropped []*pending) {
	for p := q.first; p != nil; {
		next := p.next
		if overdue(p) {
			q.remove(p)
			p.state = stateLeft
			dropped = append(dropped, p)
		}
		p = next
	}
	return dropped
}
