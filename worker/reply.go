package worker

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
)

// errOverdue answers a caller that has probably stopped waiting; in case its
// clock or the header was wrong, it hears what happened.
var errOverdue = wire.Errorf(wire.CodeDeadlineExceeded, "the time that the caller waits had passed before the check was decided; nothing was charged")

// answer makes the reply about a key that was decided by a plan, and counts it.
// It uses the space of the limits in r.
func (q *request) answer(r *wire.Reply, key string, p *plan, res *limiter.Result) {
	e := q.endpoint
	*r = wire.Reply{
		Limits:       r.Limits[:0],
		Allowed:      res.Allowed,
		Key:          key,
		RetryAfterMS: millis(res.RetryAfter()),
		DelayMS:      millis(res.Delay()),
		Policy:       p.policy,
		Source:       res.Source.String(),
		// What a policy says without a store is what every worker says. In an
		// outage it is not.
		Degraded: !res.Source.Shared() && len(res.Levels) > 0,
	}
	if len(res.Levels) > 0 && res.Source != limiter.SourcePolicy {
		e.describe(r, p.demands, res)
	}
	if !res.Allowed && p.lenient {
		r.WouldDeny = true
		e.worker.metrics.wouldDeny.Inc()
	}
	if p.lenient {
		r.Allowed, r.RetryAfterMS, r.DelayMS = true, 0, 0
	}
	if !r.Allowed {
		r.DelayMS = 0
	}
	e.count(r.Allowed, r.Degraded, res.Source, time.Since(q.arrived))
}

// describe says in a reply how the buckets are.
func (e *endpoint) describe(r *wire.Reply, demands []limiter.Demand, res *limiter.Result) {
	i := 0
	if e.op != limiter.Reset {
		i = res.Binding()
	}
	rule, level := demands[i].Rule, &res.Levels[i]
	r.LimitName = nameOf(rule)
	r.Limit = rule.Limit().Burst
	r.Remaining = level.Remaining
	r.ResetAfterMS = millis(level.ResetAfter)
	r.WindowMS = millis(rule.Window())
	if len(demands) == 1 {
		return
	}
	for i := range demands {
		rule, level := demands[i].Rule, &res.Levels[i]
		r.Limits = append(r.Limits, wire.LimitReply{
			Name:         nameOf(rule),
			Limit:        rule.Limit().Burst,
			Remaining:    level.Remaining,
			RetryAfterMS: millis(level.RetryAfter),
			ResetAfterMS: millis(level.ResetAfter),
			WindowMS:     millis(rule.Window()),
		})
	}
}

// count counts a check that was decided.
func (e *endpoint) count(allowed, degraded bool, source limiter.Source, took time.Duration) {
	if allowed {
		e.allowed.Add(1)
	} else {
		e.denied.Add(1)
	}
	if degraded {
		e.degraded.Add(1)
	}
	e.metrics.decided(allowed, source, took)
}

// millis is the one place where durations become milliseconds. It rounds up:
// who waits that long has waited long enough.
func millis(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

// failed is the one place where errors become codes. It counts the error.
func (q *request) failed(err error) *wire.Error {
	w := q.endpoint.worker
	e := toWire(err)
	switch {
	case e == nil:
		// What the store said is for the operator: it may name hosts.
		w.log.error("store", "the store did not decide", err)
		e = wire.Errorf(wire.CodeUnavailable, "the store did not decide; the check may have been charged")
	case e.Code == wire.CodeOverloaded:
		w.metrics.shed.overloaded.Inc()
	case e.Code == wire.CodeDeadlineExceeded:
		w.metrics.shed.deadline.Inc()
	}
	q.endpoint.failed.Add(1)
	q.endpoint.metrics.failed.Inc()
	w.metrics.errors.WithLabelValues(string(e.Code)).Inc()
	return e
}

// toWire returns nil for an error that it does not know.
func toWire(err error) *wire.Error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, batch.ErrOverloaded):
		return wire.Errorf(wire.CodeOverloaded, "the worker has more checks waiting than it can decide; nothing was charged, try again later")
	case errors.Is(err, batch.ErrDeadline):
		return errOverdue
	case errors.Is(err, batch.ErrClosed):
		return wire.Errorf(wire.CodeUnavailable, "the worker is stopping; nothing was charged, ask again")
	case errors.Is(err, limiter.ErrCostExceedsBurst):
		return wire.Errorf(wire.CodeCostExceedsBurst, "%s", without(err, limiter.ErrCostExceedsBurst))
	case errors.Is(err, limiter.ErrNotRepresentable):
		return wire.Errorf(wire.CodeLimitNotRepresentable, "%s", without(err, limiter.ErrNotRepresentable))
	case errors.Is(err, limiter.ErrInvalidLimit), errors.Is(err, limiter.ErrInvalidCheck):
		return wire.Errorf(wire.CodeInvalidRequest, "%v", err)
	}
	return nil
}

// without returns the message of an error without the words of the sentinel
// that it wraps, which say what the code says.
func without(err, sentinel error) string {
	return strings.TrimPrefix(err.Error(), sentinel.Error()+": ")
}

// refuse answers the whole message with an error.
func (q *request) refuse(err error) {
	q.send(&wire.Reply{Err: q.failed(err)})
}

// send publishes the reply to one check.
func (q *request) send(r *wire.Reply) {
	w := q.endpoint.worker
	buf := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buf)
	if r.Err == nil {
		*buf = wire.AppendReply((*buf)[:0], r)
		w.sent(w.nc.Publish(q.reply, *buf))
		return
	}
	*buf = wire.AppendError((*buf)[:0], r.Err)
	w.sent(w.nc.PublishMsg(&nats.Msg{
		Subject: q.reply,
		Header: nats.Header{
			wire.HeaderError:     {string(r.Err.Code)},
			wire.HeaderErrorCode: {strconv.Itoa(r.Err.Code.HTTPStatus())},
		},
		Data: *buf,
	}))
}

// sendAll publishes the replies to several checks. Errors of single checks do
// not make it an error reply.
func (q *request) sendAll(replies []wire.Reply, inTurn bool) {
	w := q.endpoint.worker
	all := wire.Replies{Allowed: true, InTurn: inTurn, Results: replies}
	for i := range replies {
		switch {
		case replies[i].Err == nil:
			all.Allowed = all.Allowed && replies[i].Allowed
		case !q.together: // there it can only be a policy that is not enforced
			all.Allowed = false
		}
		if q.together {
			all.RetryAfterMS = max(all.RetryAfterMS, replies[i].RetryAfterMS)
		}
	}
	buf := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buf)
	*buf = wire.AppendReplies((*buf)[:0], &all)
	w.sent(w.nc.Publish(q.reply, *buf))
}

// sent notes what became of a reply. The connection has copied it by now.
func (w *Worker) sent(err error) {
	if err != nil {
		w.metrics.nats.publish.Inc()
		w.log.error("publish", "a reply could not be sent", err)
	}
}
