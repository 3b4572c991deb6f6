package worker

import "github.com/quotaworker/ratelimit/client/wire"

// What a reply takes at most: replyRoom for a check, without its key and the
// name of its policy, and limitRoom more for each of several limits.
const (
	replyRoom = 400
	limitRoom = 256
)

// room returns how much the answer to c takes beside replyRoom.
func (c *call) room() int64 {
	n := len(`,"policy":""`) + len(c.plan.policy)
	if limits := len(c.check.Demands); limits > 1 {
		n += limits * limitRoom
	}
	return int64(n)
}

// many submits several checks, whose answers go out as one reply.
func (q *request) many(prefix string, body *wire.Request) {
	if prefix != "" {
		if err := wire.CheckKey(prefix); err != nil {
			q.refuse(err)
			return
		}
	}
	q.together = body.Mode == wire.ModeAll
	g := newGroup(q, len(body.Checks))
	size, failed := int64(0), error(nil)
	for i := range body.Checks {
		check := &body.Checks[i]
		key := wire.JoinKey(prefix, check.Key)
		size += int64(len(key)) + replyRoom
		c, err := q.part(g, i, key, check)
		switch {
		case err == nil:
			g.calls = append(g.calls, c)
			size += c.room()
		case !q.together:
			g.set(i, wire.Reply{Key: key, Err: q.failed(err)})
		case failed == nil:
			failed = atCheck(i, err)
		}
	}
	// Found out now, because later the tokens are gone.
	if most := q.endpoint.worker.nc.MaxPayload(); size > most {
		failed = wire.Errorf(wire.CodeInvalidRequest, "checks: the reply to %d checks may not fit into the %d bytes that the NATS server allows a message; send fewer at a time, or raise max_payload of the server", len(body.Checks), most)
	}
	if failed == nil && q.together {
		failed = q.all(g.calls, g)
	} else if failed == nil {
		q.each(g)
	}
	if failed != nil {
		for _, c := range g.calls {
			c.free()
		}
		g.free()
		q.refuse(failed)
		return
	}
	g.release() // what newGroup holds
}

// part makes the call for one of several checks.
func (q *request) part(g *group, i int, key string, check *wire.Request) (*call, error) {
	if key != check.Key { // or decoding it has looked at it
		if err := wire.CheckKey(key); err != nil {
			return nil, err
		}
	}
	c, err := q.prepare(key, check)
	if err != nil {
		return nil, err
	}
	c.group, c.index = g, i
	if q.together {
		return c, nil // what is valid is for all of them to say
	}
	if err := c.valid(); err != nil {
		c.free()
		return nil, err
	}
	return c, nil
}

// each queues the calls of a group, together, so that they are decided
// together.
func (q *request) each(g *group) {
	w := q.endpoint.worker
	for _, c := range g.calls {
		w.flight.start()
		if !c.known() {
			g.items = append(g.items, c)
		}
	}
	n, err := w.queue.Submit(g.items...)
	for _, item := range g.items[n:] {
		item.Done(nil, err)
	}
}

// atCheck says in an error which of several checks it is about.
func atCheck(i int, err error) error {
	e := toWire(err)
	if e == nil {
		return err
	}
	return wire.Errorf(e.Code, "checks[%d]: %s", i, e.Message)
}
