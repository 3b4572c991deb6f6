package worker

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// maxTimeout bounds what wire.HeaderTimeout can mean. What is longer is not
// how long somebody waits for an answer.
const maxTimeout = 24 * time.Hour

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

// request is a message that can be answered.
type request struct {
	endpoint *endpoint
	reply    string
	arrived  time.Time
	deadline time.Time
	together bool // its checks are granted all or none
}

// Handle takes a message, and returns as soon as its checks are queued. It
// implements micro.Handler. The micro.Request is not used after that, nor to
// answer: it may only be used here, and the answer comes from elsewhere.
func (e *endpoint) Handle(msg micro.Request) {
	q := request{endpoint: e, reply: msg.Reply(), arrived: time.Now()}
	if q.reply == "" {
		e.worker.metrics.shed.noReply.Inc()
		return
	}
	if !mayReplyTo(q.reply) {
		e.worker.metrics.shed.badReply.Inc()
		return
	}
	q.deadline = q.arrived.Add(e.worker.timeout(msg.Headers()[wire.HeaderTimeout]))
	body := e.worker.bodies.Get().(*wire.Request)
	defer e.worker.bodies.Put(body)
	err := wire.DecodeRequestInto(body, msg.Data())
	if err != nil {
		q.refuse(err)
		return
	}
	key := wire.KeyFromSubject(e.verb, msg.Subject())
	if body.Checks != nil {
		q.many(key, body)
		return
	}
	if key, err = oneKey(key, body.Key); err == nil {
		err = q.one(key, body)
	}
	if err != nil {
		q.refuse(err)
	}
}

// mayReplyTo reports whether a reply on this subject can be meant for the
// caller, rather than for a service that trusts the worker.
func mayReplyTo(subject string) bool {
	return subject[0] != '$' && !strings.HasPrefix(subject, "ratelimit.")
}

// timeout returns how long the caller waits. At 0 it has stopped already.
func (w *Worker) timeout(header []string) time.Duration {
	if len(header) == 0 {
		return w.maxAge
	}
	ms, err := strconv.ParseUint(header[0], 10, 64)
	if err != nil || ms > uint64(maxTimeout.Milliseconds()) {
		return w.maxAge
	}
	return time.Duration(ms) * time.Millisecond
}

// oneKey returns the key that a message is about.
func oneKey(subject, body string) (string, error) {
	switch {
	case subject == "":
		return body, wire.CheckKey(body)
	case body != "" && body != subject:
		return "", wire.Errorf(wire.CodeInvalidRequest, "key: the subject and the body name different keys; name it once")
	}
	return subject, wire.CheckKey(subject)
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

// one submits the check of a key, whose answer goes out as the reply; not so
// an error that is returned.
func (q *request) one(key string, body *wire.Request) error {
	c, err := q.prepare(key, body)
	if err != nil {
		return err
	}
	if err := c.valid(); err != nil {
		c.free()
		return err
	}
	q.start(c)
	return nil
}

// prepare makes the call for the check of a key.
func (q *request) prepare(key string, body *wire.Request) (*call, error) {
	w := q.endpoint.worker
	c := w.calls.Get().(*call)
	c.request, c.key = *q, key
	if body.TimeoutMS > 0 {
		if own := q.arrived.Add(time.Duration(body.TimeoutMS) * time.Millisecond); own.Before(c.deadline) {
			c.deadline = own
		}
	}
	p, err := w.limits.resolve(c.space[:0], q.endpoint.verb, key, body)
	if err != nil {
		c.free()
		return nil, err
	}
	c.plan = p
	c.check = limiter.Check{Op: q.endpoint.op, Demands: p.demands, OnOutage: p.onOutage}
	return c, nil
}

// valid says why a store would refuse the check.
func (c *call) valid() error {
	if len(c.check.Demands) == 0 {
		return nil // there is an answer without a store
	}
	return validate(&c.check)
}

// validate says why a store would refuse a check, in the words of replies.
func validate(c *limiter.Check) error {
	err := c.Validate()
	if err == nil {
		return nil
	}
	e := toWire(err)
	if e == nil {
		return err
	}
	for i := range c.Demands {
		if r := c.Demands[i].Rule; r != nil {
			e.Message = strings.ReplaceAll(e.Message, r.Name(), nameOf(r))
		}
	}
	return e
}

// start queues a call, or answers it if its policy says all there is to say.
func (q *request) start(c *call) {
	w := q.endpoint.worker
	w.flight.start()
	if c.known() {
		return
	}
	c.self[0] = c
	if _, err := w.queue.Submit(c.self[:]...); err != nil {
		c.Done(nil, err)
	}
}

// known answers a call whose answer needs no store: it is what a policy says, or
// a denial that is still in force. It reports whether it did.
func (c *call) known() bool {
	if len(c.check.Demands) > 0 {
		return c.endpoint.worker.denials.answer(c)
	}
	c.Done(&limiter.Result{Allowed: !c.plan.deny, Source: limiter.SourcePolicy}, nil)
	return true
}
