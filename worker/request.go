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

// replyRoom is more than the reply to one check takes, without its key.
const replyRoom = 400

// request is a message that can be answered.
type request struct {
	endpoint *endpoint
	reply    string
	arrived  time.Time
	deadline time.Time
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
	body, err := wire.DecodeRequest(msg.Data())
	if err != nil {
		q.refuse(err)
		return
	}
	key := wire.KeyFromSubject(e.verb, msg.Subject())
	if body.Checks != nil {
		q.each(key, body.Checks)
		return
	}
	if key, err = oneKey(key, body.Key); err == nil {
		err = q.submit(key, &body, nil, 0)
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

// each submits several checks, whose answers go out as one reply.
func (q *request) each(prefix string, checks []wire.Request) {
	if prefix != "" {
		if err := wire.CheckKey(prefix); err != nil {
			q.refuse(err)
			return
		}
	}
	size := int64(0)
	for i := range checks {
		size += int64(len(prefix) + len(checks[i].Key) + replyRoom)
	}
	if most := q.endpoint.worker.nc.MaxPayload(); size > most {
		// Found out now, because later the tokens are gone.
		q.refuse(wire.Errorf(wire.CodeInvalidRequest, "checks: the reply to %d checks may not fit into the %d bytes that the NATS server allows a message; send fewer at a time, or raise max_payload of the server", len(checks), most))
		return
	}
	g := newGroup(q, len(checks))
	for i := range checks {
		key := wire.JoinKey(prefix, checks[i].Key)
		err := wire.CheckKey(key)
		if err == nil {
			err = q.submit(key, &checks[i], g, i)
		}
		if err != nil {
			g.set(i, wire.Reply{Key: key, Err: q.failed(err)})
		}
	}
	g.release() // what newGroup holds
}

// submit queues the check of a key. The answer goes to element i of g, or out
// as the reply if g is nil; not so an error that is returned.
func (q *request) submit(key string, body *wire.Request, g *group, i int) error {
	w := q.endpoint.worker
	c := w.calls.Get().(*call)
	c.request, c.key, c.group, c.index = *q, key, g, i
	demands, err := w.limits.resolve(c.space[:0], q.endpoint.verb, key, body)
	if err == nil {
		c.check = limiter.Check{Op: q.endpoint.op, Demands: demands}
		err = c.check.Validate()
	}
	if err != nil {
		c.free()
		return err
	}
	w.flight.start()
	if err := w.queue.Submit(c); err != nil {
		w.flight.land()
		c.free()
		return err
	}
	return nil
}
