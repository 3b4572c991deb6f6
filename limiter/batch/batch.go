// Package batch turns many checks into one call of a store.
//
// A [Batcher] is a bounded queue and one loop. While a call to the store is
// under way, checks queue up; when it returns, the loop takes what is there,
// up to a batch, and makes the next call. So a lone check waits for nobody,
// and under load the batches grow by themselves: there is no timer, and no
// goroutine per check.
//
// The queue is the only place where a check waits. A check that does not fit
// is refused at once with [ErrOverloaded], and one whose deadline has passed
// when its turn comes is dropped with [ErrDeadline] without being charged:
// under overload, work goes to callers who are still there.
package batch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

var (
	// ErrOverloaded is returned when the queue is full.
	ErrOverloaded = errors.New("batch: the queue is full: there are more checks than the store can decide")

	// ErrClosed is returned when the Batcher has been closed.
	ErrClosed = errors.New("batch: closed")

	// ErrDeadline is given to an item whose deadline passed in the queue. Its
	// check has not been charged.
	ErrDeadline = errors.New("batch: the deadline passed before the check was decided; nothing was charged")
)

// Item is a check that waits to be decided.
type Item interface {
	// Check returns the check, which must be valid and must not change until
	// Done is called.
	Check() *limiter.Check

	// Deadline returns when nobody will be waiting for the answer any more.
	// The zero time means never.
	Deadline() time.Time

	// Done is called once for every item that Submit accepted. If err is nil
	// then res is the answer; it is only valid during the call. Otherwise err
	// is ErrDeadline or what the store said, and no decision was made.
	//
	// Done is called by the loop: while it runs, nothing is decided. It must
	// not block and not call Close.
	Done(res *limiter.Result, err error)
}

// Options configures a Batcher. The zero value of a field means its default.
type Options struct {
	// Queue is how many items may wait. The default is 4096.
	Queue int

	// Size is how many checks one call to the store decides at most. The
	// default is 256, past which measurements found no gain.
	Size int
}

// Batcher collects checks into batches. It is safe for concurrent use.
type Batcher struct {
	store limiter.Store
	size  int
	wake  chan struct{} // holds a token when the loop has something to look at
	done  chan struct{} // closed when the loop has returned

	mu     sync.Mutex // guards what follows
	queue  ring
	closed bool
	stats  Stats
}

// Stats counts what a Batcher did since it was made.
type Stats struct {
	// Queued is how many items wait now.
	Queued int
	// Batches is how many calls were made to the store.
	Batches uint64
	// Checks is how many checks these calls decided.
	Checks uint64
	// Overloaded is how many items were refused because the queue was full.
	Overloaded uint64
	// Overdue is how many items were dropped because of their deadline.
	Overdue uint64
}

// New starts a Batcher over store. Close stops it.
func New(store limiter.Store, o Options) *Batcher {
	if o.Queue <= 0 {
		o.Queue = 4096
	}
	if o.Size <= 0 {
		o.Size = 256
	}
	b := &Batcher{
		store: store,
		size:  o.Size,
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		queue: ring{items: make([]Item, o.Queue)},
	}
	go b.loop()
	return b
}

// Submit hands over items and returns at once how many of them it accepted, the
// first ones: Done will be called once for each of these. For the others it
// will not, and the error, ErrOverloaded or ErrClosed, says why. Items that are
// submitted together are queued at one moment, in their order, so that the
// next batch has them all, as far as it has room.
func (b *Batcher) Submit(items ...Item) (int, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, ErrClosed
	}
	idle := b.queue.n == 0
	n := 0
	for n < len(items) && b.queue.push(items[n]) {
		n++
	}
	b.stats.Overloaded += uint64(len(items) - n)
	b.mu.Unlock()
	if idle && n > 0 {
		b.signal()
	}
	if n < len(items) {
		return n, ErrOverloaded
	}
	return n, nil
}

// Close refuses further items, decides those that wait, and returns when the
// last Done has returned or when ctx ends, with the error of ctx. In the
// latter case the loop goes on until its queue is empty.
func (b *Batcher) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats returns the counts so far.
func (b *Batcher) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Queued = b.queue.n
	return s
}

func (b *Batcher) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Batcher) loop() {
	defer close(b.done)
	var (
		items   = make([]Item, 0, b.size)
		checks  = make([]limiter.Check, 0, b.size)
		results = make([]limiter.Result, b.size) // keeps the space of its Levels
	)
	for {
		b.mu.Lock()
		items = b.queue.pop(items[:0], b.size)
		closed := b.closed
		b.mu.Unlock()
		if len(items) == 0 {
			if closed {
				return
			}
			<-b.wake
			continue
		}
		b.decide(items, checks, results)
		clear(items) // do not keep answered items alive
	}
}

// decide answers the items. Checks and results are space to work in.
func (b *Batcher) decide(items []Item, checks []limiter.Check, results []limiter.Result) {
	now := time.Now()
	due := items[:0]
	overdue := 0
	for _, item := range items {
		if d := item.Deadline(); !d.IsZero() && d.Before(now) {
			item.Done(nil, ErrDeadline)
			overdue++
			continue
		}
		due = append(due, item)
		checks = append(checks, *item.Check())
	}
	b.mu.Lock()
	b.stats.Overdue += uint64(overdue)
	if len(due) > 0 {
		b.stats.Batches++
		b.stats.Checks += uint64(len(due))
	}
	b.mu.Unlock()
	if len(due) == 0 {
		return
	}
	// The batch outlives any one caller, so it has no deadline but the one
	// that the store sets for itself.
	err := b.store.Take(context.Background(), checks, results[:len(due)])
	for i, item := range due {
		if res := &results[i]; err == nil || res.Source != limiter.SourceNone {
			item.Done(res, nil)
		} else {
			item.Done(nil, err)
		}
	}
}
