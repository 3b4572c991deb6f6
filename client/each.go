package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// MaxItems bounds the checks of one [Client.CheckEach].
const MaxItems = wire.MaxChecks

// Item is one of several checks.
type Item struct {
	Key     string
	Options []CheckOption
}

// Outcome is what became of one [Item]: a Result, or an error and nothing but
// the Key of the result.
type Outcome struct {
	Result
	Err error
}

// Outcomes has an element for each of the items, in their order.
type Outcomes []Outcome

// Allowed reports whether every check was decided and allowed.
func (o Outcomes) Allowed() bool {
	for i := range o {
		if o[i].Err != nil || !o[i].Result.Allowed {
			return false
		}
	}
	return true
}

// Err joins the errors of the checks that were not decided, or is nil.
func (o Outcomes) Err() error {
	var all []error
	for i := range o {
		all = append(all, o[i].Err)
	}
	return errors.Join(all...)
}

// Decision is the answer to [Client.CheckAll].
type Decision struct {
	// Allowed reports whether the tokens of all items were taken.
	Allowed bool

	// RetryAfter is how long to wait before the same call would be granted if
	// nobody else asks in between; 0 if it was, and if a policy denies one of
	// the items for good.
	RetryAfter time.Duration

	// InTurn is true when the buckets were not decided at one moment but one
	// after the other, because Redis Cluster keeps them apart; see
	// [Client.CheckAll].
	InTurn bool

	// Results has an element for each of the items, in their order. If the
	// whole was denied, they say which items had the tokens, and nothing was
	// taken from any. If a policy denies one of the items for good, the others
	// were only looked at: they are allowed whatever they have.
	Results []Result
}

// CheckAll takes the tokens of all items, or none: a user, an address and an
// endpoint, say. Together the items can have 16 limits, and no two may be
// about the same limit of the same key.
//
// It all happens at one moment, unless the service keeps its buckets in Redis
// Cluster and the keys are in several slots. Then they are taken in turn, and
// given back if one denies, so that no limit is ever exceeded; but others may
// for a moment be denied tokens that are about to be given back.
//
// The error is about the request as a whole, and then nothing was decided.
func (c *Client) CheckAll(ctx context.Context, items []Item) (Decision, error) {
	replies, err := c.checkItems(ctx, wire.ModeAll, items)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Allowed: replies.Allowed, RetryAfter: millis(replies.RetryAfterMS), InTurn: replies.InTurn, Results: make([]Result, len(items))}
	for i := range replies.Results {
		d.Results[i] = resultOf(&replies.Results[i])
	}
	return d, nil
}

// CheckEach makes several checks in one request, which is far cheaper than
// making them one by one. Each is decided on its own: a denial of one does not
// give back what another took. Two items with the same key are two checks.
//
// The error is about the request as a whole, and then nothing was decided
// about any item. An item that makes no sense fails the whole request before
// it is sent, as does having none, or more than [MaxItems].
func (c *Client) CheckEach(ctx context.Context, items []Item) (Outcomes, error) {
	replies, err := c.checkItems(ctx, "", items)
	if err != nil {
		return nil, err
	}
	outcomes := make(Outcomes, len(items))
	for i := range replies.Results {
		reply := &replies.Results[i]
		outcomes[i].Result = resultOf(reply)
		if reply.Err != nil {
			outcomes[i].Err = fmt.Errorf("ratelimit: check %q: %w", wire.JoinKey(c.prefix, items[i].Key), fromWire(reply.Err))
		}
	}
	return outcomes, nil
}

// checkItems makes a request with several checks.
func (c *Client) checkItems(ctx context.Context, mode string, items []Item) (wire.Replies, error) {
	subject := wire.Subject(wire.VerbCheck, c.prefix)
	fail := func(err error) (wire.Replies, error) {
		return wire.Replies{}, fmt.Errorf("ratelimit: check %d items: %w", len(items), err)
	}
	if len(items) == 0 || len(items) > MaxItems {
		return fail(fromWire(wire.Errorf(wire.CodeInvalidRequest, "there must be 1 to %d of them", MaxItems)))
	}
	r := wire.Request{Mode: mode, Checks: make([]wire.Request, len(items))}
	for i := range items {
		if err := c.fill(&r.Checks[i], &items[i]); err != nil {
			e := fromWire(err)
			e.Message = fmt.Sprintf("checks[%d]: %s", i, e.Message)
			return fail(e)
		}
	}
	buf := c.bodies.Get().(*[]byte)
	defer c.bodies.Put(buf)
	body, err := encode((*buf)[:0], &r)
	*buf = body
	if err != nil {
		return fail(fromWire(err))
	}
	msg, err := c.request(ctx, subject, body)
	if err != nil {
		return fail(err)
	}
	replies, err := wire.DecodeReplies(msg.Data)
	if err == nil && replies.Err == nil && len(replies.Results) != len(items) {
		err = fmt.Errorf("%d results for %d checks", len(replies.Results), len(items))
	}
	if err := refusal(subject, msg, replies.Err, err); err != nil {
		return fail(err)
	}
	return replies, nil
}

// fill makes the check of one item. Its key stays without the prefix, which
// the subject carries, but has to be good with it.
func (c *Client) fill(r *wire.Request, item *Item) error {
	if _, err := c.fullKey(item.Key); err != nil {
		return err
	}
	*r = wire.Request{Key: item.Key, Cost: 1}
	return apply(item.Options, r)
}
