package client_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// rig is a worker over memory on a NATS server without sockets, so that it
// works in a synctest bubble.
type rig struct {
	t     testing.TB
	srv   *natsembed.Server
	store *countingStore
	book  *policy.Book // nil without policies
	stop  func()       // stops the worker
}

// countingStore is memory that passes for the store that all workers share,
// so that its answers are not degraded.
type countingStore struct {
	*memstore.Store
	asks     atomic.Int64 // checks that take
	refunds  atomic.Int64
	takes    atomic.Int64 // nanoseconds that each call takes
	degraded atomic.Bool
}

func (s *countingStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	time.Sleep(time.Duration(s.takes.Load()))
	for i := range checks {
		if checks[i].Taking() {
			s.asks.Add(1)
		} else if checks[i].Op == limiter.Refund {
			s.refunds.Add(1)
		}
	}
	err := s.Store.Take(ctx, checks, results)
	for i := range results {
		if !s.degraded.Load() {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}

// newRig starts a rig whose keys are limited by the policies in a document, if
// it is not empty, or by what requests bring.
func newRig(t testing.TB, document string) *rig {
	t.Helper()
	srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	r := &rig{t: t, srv: srv, store: &countingStore{Store: memstore.New(memstore.Options{})}}
	if document != "" {
		r.book = policy.NewBook()
		if err := r.book.Load("test.yaml", []byte(document), "1"); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start starts a worker.
func (r *rig) start() {
	r.t.Helper()
	queue := batch.New(r.store, batch.Options{})
	w, err := worker.New(r.connect(), queue, worker.Options{Policies: r.book, InlineLimits: worker.InlineUnmatched, Registerer: prometheus.NewRegistry()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			r.t.Errorf("Stop: %v", err)
		}
		if err := queue.Close(ctx); err != nil {
			r.t.Errorf("closing the queue: %v", err)
		}
	})
}

func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect("", append(client.ConnectOptions(), r.srv.InProcess())...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) client(opts ...client.Option) *client.Client {
	r.t.Helper()
	c, err := client.New(r.connect(), opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// lease starts a lease that ends with the test.
func (r *rig) lease(c *client.Client, key string, opts ...client.LeaseOption) *client.Lease {
	r.t.Helper()
	l, err := c.Lease(r.t.Context(), key, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

// left returns how many tokens the bucket of key has.
func (r *rig) left(c *client.Client, key string, opts ...client.CheckOption) int64 {
	r.t.Helper()
	res, err := c.Peek(context.Background(), key, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Remaining
}

// bubble is synctest.Test for tests with a rig. The nats.go package keeps
// timers in a sync.Pool; one that was made in a bubble must not be used
// outside, so the pool is emptied, which takes two collections. And it looks
// only every 100 ms whether a subscription is drained, which it should see
// before the bubble ends.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer func() {
		runtime.GC()
		runtime.GC()
	}()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) })
		f(t)
	})
}
