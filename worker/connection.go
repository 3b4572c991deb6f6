package worker

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// handleErrors counts and logs what the connection reports on the side, and
// then calls the handler that was set before.
func (w *Worker) handleErrors() {
	before := w.nc.ErrorHandler()
	w.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		w.natsError(sub, err)
		if before != nil {
			before(nc, sub, err)
		}
	})
}

func (w *Worker) natsError(sub *nats.Subscription, err error) {
	var subject string
	if sub != nil {
		subject = sub.Subject
	}
	switch {
	case errors.Is(err, nats.ErrSlowConsumer) && subject == DenialsSubject:
		w.metrics.nats.slowConsumer.Inc()
		w.log.error("slow_consumer", "resets and refunds come in faster than they can be noted; some denials end up to a second late", err, "subject", subject)
	case errors.Is(err, nats.ErrSlowConsumer):
		w.metrics.nats.slowConsumer.Inc()
		dropped, _ := sub.Dropped()
		w.log.error("slow_consumer", "checks come in faster than they can be queued, and were dropped unanswered; start more workers", err,
			"subject", subject, "dropped", dropped)
	case errors.Is(err, nats.ErrPermissionViolation):
		w.metrics.nats.permission.Inc()
		w.log.error("permission", "the NATS server refuses this worker a subject; a worker subscribes to its verbs, $SRV.> and "+DenialsSubject+", and publishes to the latter and to inboxes", err,
			"subject", subject)
	default:
		w.metrics.nats.other.Inc()
		w.log.error("nats", "the NATS connection reports an error", err, "subject", subject)
	}
}

// throttledLog logs what can happen for every check, but at most once in a
// while of each kind. It is safe for concurrent use.
type throttledLog struct {
	log   *slog.Logger
	every time.Duration

	mu    sync.Mutex
	kinds map[string]*throttled
}

type throttled struct {
	last time.Time
	kept int // messages since the last one that was logged
}

func (l *throttledLog) error(kind, message string, err error, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = make(map[string]*throttled)
	}
	t := l.kinds[kind]
	if t == nil {
		t = &throttled{}
		l.kinds[kind] = t
	}
	now := time.Now()
	if !t.last.IsZero() && now.Sub(t.last) < l.every {
		t.kept++
		return
	}
	args = append(args, "error", err)
	if t.kept > 0 {
		args = append(args, "times_before", t.kept)
	}
	l.log.Error("worker: "+message, args...)
	t.last, t.kept = now, 0
}
