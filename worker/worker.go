package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

// DefaultMaxAge is the default of Options.MaxAge.
const DefaultMaxAge = 2 * time.Second

// flushTimeout bounds the wait for the server to confirm the subscriptions.
const flushTimeout = 5 * time.Second

// Queue decides checks; [batch.Batcher] is one, and says what Submit does. It
// must not block, nor keep the slice.
type Queue interface {
	Submit(items ...batch.Item) (int, error)
}

// Options configures a Worker. The zero value accepts no limits in requests
// and has no default limit, so that every check is refused.
type Options struct {
	// Version is the version of the service, a semantic version without a
	// leading v. Empty means 0.0.0.
	Version string

	// Instance tells this worker apart from others in the metadata of the
	// service. Empty leaves it out.
	Instance string

	// Metadata is what else the metadata of the service says, for people who
	// look at it with `nats micro info`.
	Metadata map[string]string

	// Policies say whose limit counts before the limit in a request and the
	// default one do. They may change at any time. Nil means that there are
	// none.
	Policies *policy.Book

	// InlineLimits says whether requests may bring limits.
	InlineLimits Inline

	// DefaultLimit counts where no policy matches and a request brings no
	// limit. Its name is taken
	// to be "default". The zero Limit means that there is none.
	DefaultLimit limiter.Limit

	// Denials is the deny cache before the store that the queue asks, if there
	// is one. The worker asks it before a check is queued, and tells the other
	// workers what they should know of it.
	Denials *denycache.Cache

	// MaxAge is how long a check may wait for its decision if the message does
	// not say how long the caller waits. 0 means DefaultMaxAge.
	MaxAge time.Duration

	// Status says what the checks are decided by at the moment. It is called
	// when somebody asks for the statistics of the service and must not
	// block. Nil means that there is nothing to say.
	Status func() Status

	// Logger is told about what goes wrong with NATS and the store, at most
	// once a second of each kind. Nil discards it.
	Logger *slog.Logger

	// Registerer gets the metrics, see metrics.go. Nil keeps them private.
	Registerer prometheus.Registerer
}

// Worker answers checks on one NATS connection. It is safe for concurrent use.
type Worker struct {
	nc      *nats.Conn
	queue   Queue
	limits  *limits
	maxAge  time.Duration
	status  func() Status
	denials *denials // nil without a cache
	metrics *metrics
	log     *throttledLog
	svc     micro.Service

	flight  *flight   // the checks that were accepted and not yet answered
	bodies  sync.Pool // of *wire.Request
	calls   sync.Pool // of *call
	groups  sync.Pool // of *group
	buffers sync.Pool // of *[]byte

	stop    sync.Once
	stopErr error
}

// New makes a Worker and subscribes it. The connection stays the caller's, but
// must be used by nothing else that subscribes or sets its error handler; New
// wraps the error handler that is set. When New returns on an established
// connection, the server knows of the subscriptions.
func New(nc *nats.Conn, queue Queue, o Options) (*Worker, error) {
	if nc == nil || queue == nil {
		return nil, errors.New("worker: it needs a NATS connection and a queue")
	}
	if o.Version == "" {
		o.Version = "0.0.0"
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxAge < 0 {
		return nil, fmt.Errorf("worker: MaxAge is %s and must not be negative", o.MaxAge)
	}
	if o.Status == nil {
		o.Status = func() Status { return Status{} }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	limits, err := newLimits(o.Policies, o.InlineLimits, o.DefaultLimit)
	if err != nil {
		return nil, fmt.Errorf("worker: the default limit: %w", err)
	}
	w := &Worker{
		nc:     nc,
		queue:  queue,
		limits: limits,
		maxAge: o.MaxAge,
		status: o.Status,
		log:    &throttledLog{log: o.Logger, every: time.Second},
		flight: newFlight(),
	}
	w.bodies.New = func() any { return new(wire.Request) }
	w.calls.New = func() any { return new(call) }
	w.groups.New = func() any { return new(group) }
	w.buffers.New = func() any { return new([]byte) }
	w.metrics = newMetrics(w.flight, o.Version)
	if err := w.metrics.register(o.Registerer); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	// Before the service is added, because the service wraps the handler that
	// it finds; one that is set later would cut it off.
	w.handleErrors()
	if w.denials, err = w.openDenials(o.Denials); err == nil {
		err = w.serve(&o)
	}
	if err != nil {
		w.denials.close()
		w.metrics.unregister(o.Registerer)
		return nil, fmt.Errorf("worker: %w", err)
	}
	return w, nil
}
