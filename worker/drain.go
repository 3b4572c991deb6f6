package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stopTimeout bounds a Stop whose context has no deadline.
const stopTimeout = 30 * time.Second

// flight counts the checks between their acceptance and their answer. One is
// added for the worker itself, until it accepts no more.
type flight struct {
	n    atomic.Int64
	once sync.Once
	idle chan struct{} // closed when the last one has landed
}

func newFlight() *flight {
	f := &flight{idle: make(chan struct{})}
	f.n.Store(1)
	return f
}

func (f *flight) start() { f.n.Add(1) }

func (f *flight) land() {
	if f.n.Add(-1) == 0 {
		// Once, because handlers of a connection that was closed under them
		// may still start something.
		f.once.Do(func() { close(f.idle) })
	}
}

// count returns the number of checks.
func (f *flight) count() int64 { return max(0, f.n.Load()-1) }

// Stop leaves the queue group, answers what has arrived, and returns when the
// server has got all the answers. The queue must go on deciding meanwhile;
// close it, and the connection, afterwards. The error says what was still
// missing when ctx ended (a context without a deadline gets one of 30 s) or
// when the connection was gone. Calling Stop again waits for and returns the
// result of the first call.
func (w *Worker) Stop(ctx context.Context) error {
	w.stop.Do(func() { w.stopErr = w.drain(ctx) })
	return w.stopErr
}

// drain does the following, in this order:
//
//  1. Stop of the service sends UNSUB for every subscription, and returns.
//  2. The answer to a PING sent after them says that the server sends no more
//     messages, and that those it had sent are here, in the lists of their
//     subscriptions.
//  3. A barrier behind these lists says that every handler has returned, so
//     that all checks have been counted.
//  4. The count falls to zero as the answers are published.
//  5. The answer to another PING says that the server has them.
//
// While there is no connection to the server, it can neither send nor take
// anything, and there is nothing to wait for in 2 and 5.
//
// If the connection fails on the way, the later steps still make sure that
// nothing of this worker is under way any more.
func (w *Worker) drain(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stopTimeout)
		defer cancel()
	}
	var failures []error
	failed := func(err error, what string) {
		if err != nil {
			failures = append(failures, fmt.Errorf("worker: stop: %s: %w", what, err))
		}
	}
	flush := func(what string) {
		if !w.nc.IsConnected() {
			return
		}
		if err := w.nc.FlushWithContext(ctx); !w.nc.IsReconnecting() { // or it was lost meanwhile
			failed(err, what)
		}
	}
	failed(w.svc.Stop(), "the subscriptions could not be drained")
	flush("the NATS server did not confirm that it sends no more checks")

	handled := make(chan struct{})
	if err := w.nc.Barrier(func() { close(handled) }); err != nil {
		// Without a connection there are no handlers, once they have seen it.
		failed(err, "the NATS connection is gone")
	} else if err := wait(ctx, handled); err != nil {
		failed(err, "there are checks that have not been looked at")
		return errors.Join(failures...)
	}
	w.flight.land() // what newFlight holds
	if err := wait(ctx, w.flight.idle); err != nil {
		failed(err, fmt.Sprintf("%d checks have not been decided", w.flight.n.Load()))
	}
	w.denials.close()
	flush("the NATS server did not confirm the last answers")
	return errors.Join(failures...)
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
