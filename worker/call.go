package worker

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
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
	tiers []tier     // of several keys that are taken together; else none
	own   wire.Reply // where the answer is made, unless in the group
	self  [1]batch.Item
}

// Check implements batch.Item.
func (c *call) Check() *limiter.Check { return &c.check }

// Deadline implements batch.Item.
func (c *call) Deadline() time.Time { return c.deadline }

// Done implements batch.Item.
func (c *call) Done(res *limiter.Result, err error) {
	w := c.endpoint.worker
	if c.tiers != nil {
		c.group.together(c, res, err)
	} else {
		r := &c.own
		if c.group != nil {
			r = &c.group.replies[c.index]
		}
		if err == nil {
			c.answer(r, c.key, &c.plan, res)
		} else {
			*r = wire.Reply{Key: c.key, Err: c.failed(err)}
		}
		if c.group != nil {
			c.group.release()
		} else {
			c.send(r)
		}
	}
	c.free()
	w.flight.land()
}

// free makes the call available for reuse.
func (c *call) free() {
	w := c.endpoint.worker
	*c = call{own: wire.Reply{Limits: c.own.Limits[:0]}}
	w.calls.Put(c)
}

// group collects the answers to several checks of one message. Groups are
// reused, as calls are.
type group struct {
	request
	replies []wire.Reply
	left    atomic.Int32 // answers that are missing, and one for the handler
	inTurn  bool         // the keys were not decided at one moment

	// refused is why the whole message is answered with an error.
	refused atomic.Pointer[wire.Error]

	// For the handler to work with.
	calls []*call
	items []batch.Item
}

func newGroup(q *request, n int) *group {
	g := q.endpoint.worker.groups.Get().(*group)
	g.request = *q
	g.replies = slices.Grow(g.replies, n)[:n]
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
	} else {
		g.sendAll(g.replies, g.inTurn)
	}
	g.free()
}

// free makes the group available for reuse.
func (g *group) free() {
	w := g.endpoint.worker
	for i := range g.replies {
		g.replies[i] = wire.Reply{Limits: g.replies[i].Limits[:0]}
	}
	clear(g.calls)
	clear(g.items)
	g.request, g.replies, g.calls, g.items = request{}, g.replies[:0], g.calls[:0], g.items[:0]
	g.inTurn = false
	g.refused.Store(nil)
	w.groups.Put(g)
}
