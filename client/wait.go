package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Errors of [Client.Wait] alone.
var (
	// ErrPastDeadline is returned at once when the tokens will not be there
	// before the context's deadline. [context.DeadlineExceeded] matches too,
	// and nothing was taken.
	ErrPastDeadline = errors.New("past the deadline")

	// ErrDenied is returned when the operator's policy denies the key whatever
	// it uses, so that no waiting helps. It has no code.
	ErrDenied = errors.New("denied by policy")
)

// Wait is Check that waits until it is allowed. The result is that of the
// check in the end.
//
// Those who wait for the same key with the same limit stand in line: only the
// first asks, and when it knows how long that takes, not before it has a chance.
// So the order is that of the calls, and there is about one request for each
// token. The line is that of the client; several clients share the tokens as
// they come. A bucket that somebody fills is noticed within ten seconds.
//
// If it is known that the tokens will not be there before the deadline of ctx,
// seeing who stands ahead, Wait fails at once with [ErrPastDeadline]. It fails
// with [ErrDenied] and [ErrCostExceedsBurst] too when waiting does not help, and
// otherwise as Check does; when the service cannot be reached everybody in line
// fails. Without a deadline, Wait takes as long as it takes, and the time of
// [WithTimeout] bounds each single request.
//
// A limit of the algorithm "leaky_bucket" says for how long to wait after the
// tokens were taken; Wait does so, and the result has the Delay that passed.
//
// Whoever stops waiting leaves the line at once. Tokens that were taken for
// nobody are given to the next in line or given back, if that can be done
// without exceeding the limit.
func (c *Client) Wait(ctx context.Context, key string, opts ...CheckOption) (Result, error) {
	full, err := c.fullKey(key)
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: wait: %w", fromWire(err))
	}
	fail := func(err error) (Result, error) {
		return Result{}, fmt.Errorf("ratelimit: wait %q: %w", full, err)
	}
	r := wire.Request{Cost: 1}
	if err := apply(opts, &r); err != nil {
		return fail(fromWire(err))
	}
	if _, err := encode(nil, &r); err != nil {
		return fail(fromWire(err))
	}
	if err := ctx.Err(); err != nil {
		return fail(errNotSent(err))
	}
	w := &waiting{opts: opts, cost: r.Cost, given: r.CostGiven, done: make(chan struct{})}
	w.deadline, w.bounded = ctx.Deadline()
	q, place, err := c.join(key, full, &r, w)
	if err != nil {
		return fail(err)
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if q.leave(place, w) {
			return fail(errLeftLine(ctx.Err()))
		}
	}
	switch {
	case w.err != nil:
		return Result{}, w.err // says what it is about
	case w.res.Delay == 0:
		return w.res, nil
	}
	// The tokens are taken; the limit wants them to be used later.
	if left := time.Until(w.deadline); w.bounded && left < w.res.Delay {
		q.putBack(w)
		return fail(errPast(w.res.Delay, left))
	}
	timer := time.NewTimer(w.res.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return w.res, nil
	case <-ctx.Done():
		q.putBack(w)
		return fail(errLeftLine(ctx.Err()))
	}
}

// errPast is for tokens that will be there in wait, but not before the deadline.
func errPast(wait, left time.Duration) error {
	return &Error{
		Code: wire.CodeDeadlineExceeded,
		Message: fmt.Sprintf("allowed in %s at the earliest, which is past the context's deadline in %s; nothing was taken",
			wait.Round(time.Millisecond), max(0, left).Round(time.Millisecond)),
		causes: []error{ErrPastDeadline, context.DeadlineExceeded},
	}
}

// errLeftLine is for who stopped waiting.
func errLeftLine(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("canceled while waiting for tokens; none were taken: %w", err)
	}
	return &Error{
		Code:    wire.CodeDeadlineExceeded,
		Message: "the context's deadline passed while waiting for tokens; none were taken",
		causes:  []error{err},
	}
}
