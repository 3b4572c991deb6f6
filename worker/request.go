package worker

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

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
	body := e.worker.bodies.Get().(*wire.Request)
	defer e.worker.bodies.Put(body)
	err := wire.DecodeRequestInto(body, msg.Data())
	if err != nil {
		q.refuse(err)
		return
	}
	q.deadline = q.arrived.Add(e.worker.timeout(msg.Headers()[wire.HeaderTimeout], body.TimeoutMS))
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

// timeout returns how long the caller waits, by the header and the body of a
// message. At 0 it has stopped already.
func (w *Worker) timeout(header []string, body int64) time.Duration {
	said := w.maxAge
	if body > 0 {
		said = time.Duration(body) * time.Millisecond
	}
	if len(header) == 0 {
		return said
	}
	ms, err := strconv.ParseUint(header[0], 10, 64)
	if err != nil || ms > wire.MaxTimeoutMS {
		return said
	}
	if d := time.Duration(ms) * time.Millisecond; body == 0 || d < said {
		return d
	}
	return said
}

// within brings the deadline of a call forward, if its check says that it has so
// many milliseconds; 0 says nothing.
func (c *call) within(ms int64) {
	if d := c.arrived.Add(time.Duration(ms) * time.Millisecond); ms > 0 && d.Before(c.deadline) {
		c.deadline = d
	}
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
	c.within(body.TimeoutMS)
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

// start queues a call, or answers it if it is known.
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
