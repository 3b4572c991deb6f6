package worker

import (
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// call is a check on its way: a batch.Item that remembers who wants to know.
// Calls are reused, so the queue must not touch one after Done.
type call struct {
	request
	key   string
	plan  plan
	check limiter.Check
	space [2]limiter.Demand // where Demands has room, for all but many limits
	group *group            // that the answer is a part of, if any
	index int
	tiers []tier // of several keys that are taken together; else none
}

// Check implements batch.Item.
func (c *call) Check() *limiter.Check { return &c.check }

// Deadline implements batch.Item.
func (c *call) Deadline() time.Time { return c.deadline }

// Done implements batch.Item.
func (c *call) Done(res *limiter.Result, err error) {
	w := c.endpoint.worker
	switch {
	case c.tiers != nil:
		c.group.together(c, res, err)
	case err == nil:
		c.deliver(c.answer(c.key, &c.plan, res))
	default:
		c.deliver(wire.Reply{Key: c.key, Err: c.failed(err)})
	}
	c.free()
	w.flight.land()
}

// deliver gives the answer to where it belongs.
func (c *call) deliver(r wire.Reply) {
	if c.group != nil {
		c.group.set(c.index, r)
	} else {
		c.send(&r)
	}
}

// free makes the call available for reuse.
func (c *call) free() {
	w := c.endpoint.worker
	*c = call{}
	w.calls.Put(c)
}

// group collects the answers to several checks of one message.
type group struct {
	request
	replies []wire.Reply
	left    atomic.Int32 // answers that are missing, and one for the handler
	inTurn  bool         // the keys were not decided at one moment

	// refused is why the whole message is answered with an error.
	refused atomic.Pointer[wire.Error]
}

func newGroup(q *request, n int) *group {
	g := &group{request: *q, replies: make([]wire.Reply, n)}
	g.left.Store(int32(n) + 1)
	return g
}

// set stores an answer. Each element is set once.
func (g *group) set(i int, r wire.Reply) {
	g.replies[i] = r
	g.release()
}

// release sends the reply when nothing is missing any more.
func (g *group) release() {
	if g.left.Add(-1) > 0 {
		return
	}
	if e := g.refused.Load(); e != nil {
		g.send(&wire.Reply{Err: e})
		return
	}
	g.sendAll(g.replies, g.inTurn)
}
