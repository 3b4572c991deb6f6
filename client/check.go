package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// KeyOf makes a key of tokens, which may hold any bytes: what cannot stand in
// a key is escaped. Different tokens make different keys, so KeyOf("a.b", "c")
// is not KeyOf("a", "b.c"). An empty token makes a key that is refused with
// [ErrInvalidKey], so that users without an id do not share a bucket.
func KeyOf(tokens ...string) string { return wire.KeyOf(tokens...) }

// Check takes tokens from the bucket of key, one unless [WithCost] says
// otherwise, or none if there are not enough.
func (c *Client) Check(ctx context.Context, key string, opts ...CheckOption) (Result, error) {
	if c.batcher != nil {
		return c.batcher.check(ctx, key, opts)
	}
	return c.ask(ctx, wire.VerbCheck, key, opts)
}

// Peek looks at the bucket of key and takes nothing. Its answer may be out of
// date by the time it arrives; to decide, use [Client.Check].
func (c *Client) Peek(ctx context.Context, key string, opts ...CheckOption) (Result, error) {
	return c.ask(ctx, wire.VerbPeek, key, opts)
}

// Reset fills the bucket of key under the same limit that a Check would use, so
// bring along what [WithRate] brought there.
func (c *Client) Reset(ctx context.Context, key string, opts ...CheckOption) (Result, error) {
	return c.ask(ctx, wire.VerbReset, key, opts)
}

// Refund gives tokens back to the bucket of key, one unless [WithCost] says
// otherwise. What does not fit into the bucket is lost.
func (c *Client) Refund(ctx context.Context, key string, opts ...CheckOption) (Result, error) {
	return c.ask(ctx, wire.VerbRefund, key, opts)
}

// ask makes a request about one key.
func (c *Client) ask(ctx context.Context, verb wire.Verb, key string, opts []CheckOption) (Result, error) {
	full, err := c.fullKey(key)
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s: %w", verb, fromWire(err))
	}
	r := wire.Request{Cost: 1}
	err = apply(opts, &r)
	if err == nil && r.Cost != 1 && (verb == wire.VerbPeek || verb == wire.VerbReset) {
		err = wire.Errorf(wire.CodeInvalidRequest, "cost: a %s has none; leave it out", verb)
	}
	if err == nil && len(opts) > 0 {
		err = c.valid(&r)
	}
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s %q: %w", verb, full, fromWire(err))
	}
	subject := wire.Subject(verb, full)
	msg, err := c.request(ctx, subject, &r)
	if err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s %q: %w", verb, full, err)
	}
	reply, err := wire.DecodeReply(msg.Data)
	if err := refusal(subject, msg, reply.Err, err); err != nil {
		return Result{}, fmt.Errorf("ratelimit: %s %q: %w", verb, full, err)
	}
	return resultOf(&reply), nil
}

// refusal returns the error that msg stands for, of which refused and unread
// are what decoding it led to. A reply that its headers mark as an error is
// one, whatever its body says.
func refusal(subject string, msg *nats.Msg, refused *wire.Error, unread error) error {
	switch {
	case refused != nil:
		return fromWire(refused)
	case msg.Header.Get(wire.HeaderErrorCode) != "":
		return errHeader(msg)
	case unread != nil:
		return errNotReply(subject, unread)
	}
	return nil
}

// fullKey returns key behind the client's prefix.
func (c *Client) fullKey(key string) (string, error) {
	full := key
	if key != "" {
		full = wire.JoinKey(c.prefix, key)
	}
	return full, wire.CheckKey(full)
}

func apply(opts []CheckOption, r *wire.Request) error {
	for _, opt := range opts {
		if err := opt(r); err != nil {
			return err
		}
	}
	return nil
}

// encode appends the body of r to dst. It refuses what a worker would refuse,
// by reading what it wrote with the worker's own decoder: there is one set of
// rules, and a request that breaks them costs no round trip.
func encode(dst []byte, r *wire.Request) ([]byte, error) {
	dst = wire.AppendRequest(dst, r)
	_, err := wire.DecodeRequest(dst)
	return dst, err
}

// valid says why a worker would refuse r.
func (c *Client) valid(r *wire.Request) (err error) {
	buf := c.bodies.Get().(*[]byte)
	defer c.bodies.Put(buf)
	*buf, err = encode((*buf)[:0], r)
	return err
}

// request sends r, at most twice, and waits for the answer.
func (c *Client) request(ctx context.Context, subject string, r *wire.Request) (*nats.Msg, error) {
	start := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		var cancel context.CancelFunc
		deadline = start.Add(c.timeout)
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, errNotSent(err)
	}
	if err := c.connected(); err != nil {
		return nil, err
	}
	buf := c.bodies.Get().(*[]byte)
	defer c.bodies.Put(buf)
	r.TimeoutMS = timeoutMS(deadline.Sub(start))
	*buf = wire.AppendRequest((*buf)[:0], r)
	reply, err := c.nc.RequestWithContext(ctx, subject, *buf)
	if errors.Is(err, nats.ErrNoResponders) {
		// Nobody has seen the request, so it is safe to repeat. A worker that
		// was just being replaced is there by now.
		reply, err = c.nc.RequestWithContext(ctx, subject, *buf)
	}
	if err != nil {
		return nil, c.fromNATS(subject, err, time.Since(start))
	}
	return reply, nil
}

// connected returns why nothing can be sent now. A connection without
// [ConnectOptions] would keep a request while it is down and send it later,
// when nobody waits for the answer any more.
func (c *Client) connected() error {
	switch {
	case c.nc.IsConnected():
		return nil
	case c.nc.IsClosed():
		return errNoConnection(nats.ErrConnectionClosed)
	}
	return errNoConnection(nats.ErrConnectionReconnecting)
}

// timeoutMS returns a caller's remaining time as it is said on the wire.
func timeoutMS(d time.Duration) int64 {
	return min(max(1, d.Milliseconds()), wire.MaxTimeoutMS)
}
