package httpbridge

import (
	"context"
	"errors"
	"time"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// Checker is what a [Bridge] asks: what it needs of a [client.Client]. An
// error that is not a *[client.Error] counts as [client.ErrUnavailable].
type Checker interface {
	Check(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error)
	Peek(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error)
	Reset(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error)
	Refund(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error)
	CheckEach(ctx context.Context, items []client.Item) (client.Outcomes, error)
	CheckAll(ctx context.Context, items []client.Item) (client.Decision, error)
}

var _ Checker = (*client.Client)(nil)

// ask puts a request about one key.
func ask(ctx context.Context, c Checker, verb wire.Verb, r *wire.Request) (wire.Reply, error) {
	do := c.Check
	switch verb {
	case wire.VerbPeek:
		do = c.Peek
	case wire.VerbReset:
		do = c.Reset
	case wire.VerbRefund:
		do = c.Refund
	}
	result, err := do(ctx, r.Key, options(r)...)
	if err != nil {
		return wire.Reply{}, err
	}
	return replyOf(&result), nil
}

// askEach puts a request with several checks.
func askEach(ctx context.Context, c Checker, r *wire.Request) (wire.Replies, error) {
	items := make([]client.Item, len(r.Checks))
	for i := range r.Checks {
		items[i] = client.Item{Key: r.Checks[i].Key, Options: options(&r.Checks[i])}
	}
	if r.Mode == wire.ModeAll {
		return askAll(ctx, c, items)
	}
	outcomes, err := c.CheckEach(ctx, items)
	if err != nil {
		return wire.Replies{}, err
	}
	replies := wire.Replies{Allowed: outcomes.Allowed(), Results: make([]wire.Reply, len(outcomes))}
	for i := range outcomes {
		o := &outcomes[i]
		if o.Err != nil {
			e, _ := serviceError(o.Err)
			replies.Results[i] = wire.Reply{Key: items[i].Key, Err: e}
			continue
		}
		replies.Results[i] = replyOf(&o.Result)
	}
	return replies, nil
}

// askAll puts checks that are granted together or not at all.
func askAll(ctx context.Context, c Checker, items []client.Item) (wire.Replies, error) {
	d, err := c.CheckAll(ctx, items)
	if err != nil {
		return wire.Replies{}, err
	}
	replies := wire.Replies{Allowed: d.Allowed, RetryAfterMS: ceilMillis(d.RetryAfter), InTurn: d.InTurn, Results: make([]wire.Reply, len(d.Results))}
	for i := range d.Results {
		replies.Results[i] = replyOf(&d.Results[i])
	}
	return replies, nil
}

// options says what r says but for its key.
func options(r *wire.Request) []client.CheckOption {
	var opts []client.CheckOption
	if r.Rate != 0 {
		opts = append(opts, client.WithRate(r.Rate, time.Duration(r.IntervalMicros)*time.Microsecond))
	}
	if r.Burst != 0 {
		opts = append(opts, client.WithBurst(r.Burst))
	}
	if r.CostGiven {
		opts = append(opts, client.WithCost(r.Cost))
	}
	if r.Algorithm != "" {
		opts = append(opts, client.WithAlgorithm(r.Algorithm))
	}
	if r.Policy != "" {
		opts = append(opts, client.WithPolicy(r.Policy))
	}
	return opts
}

func replyOf(r *client.Result) wire.Reply {
	var limits []wire.LimitReply
	for i := range r.Limits {
		l := &r.Limits[i]
		limits = append(limits, wire.LimitReply{
			Name:         l.Name,
			Limit:        l.Limit,
			Remaining:    l.Remaining,
			RetryAfterMS: ceilMillis(l.RetryAfter),
			ResetAfterMS: ceilMillis(l.ResetAfter),
			WindowMS:     ceilMillis(l.Window),
		})
	}
	return wire.Reply{
		Allowed:      r.Allowed,
		Key:          r.Key,
		Limit:        r.Limit,
		Remaining:    r.Remaining,
		RetryAfterMS: ceilMillis(r.RetryAfter),
		ResetAfterMS: ceilMillis(r.ResetAfter),
		WindowMS:     ceilMillis(r.Window),
		DelayMS:      ceilMillis(r.Delay),
		Policy:       r.Policy,
		LimitName:    r.LimitName,
		Limits:       limits,
		Source:       r.Source,
		Degraded:     r.Degraded,
		WouldDeny:    r.WouldDeny,
	}
}

// ceilMillis rounds up, so that whoever waits that long has waited enough.
func ceilMillis(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d-1)/time.Millisecond) + 1
}

// serviceError returns what a caller is told about an error of a Checker, and
// whether the service took part: whether the request was refused, rather than
// lost on the way.
func serviceError(err error) (e *wire.Error, answered bool) {
	var ce *client.Error
	switch {
	case errors.As(err, &ce):
		e = &wire.Error{Code: ce.Code, Message: ce.Message}
		return e, !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrTimeout)
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeDeadlineExceeded, "no answer in time; it may have been charged"), false
	}
	// Not in the words of err, which was not written for callers.
	return wire.Errorf(wire.CodeUnavailable, "the rate limiter cannot be asked at the moment; try again"), false
}
