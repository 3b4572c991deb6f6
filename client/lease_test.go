package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// sharedStore passes for the store that all workers share, so that its answers
// are not degraded.
type sharedStore struct{ limiter.Store }

func (s sharedStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	err := s.Store.Take(ctx, checks, results)
	for i := range results {
		if results[i].Source == limiter.SourceMemory {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}

// service is a worker over memory on a server without sockets.
type service struct {
	t   testing.TB
	srv *natsembed.Server
}

func startService(t testing.TB, store limiter.Store, o worker.Options) *service {
	t.Helper()
	srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	s := &service{t, srv}
	if store == nil {
		store = sharedStore{memstore.New(memstore.Options{})}
	}
	queue := batch.New(store, batch.Options{})
	t.Cleanup(func() { _ = queue.Close(context.Background()) })
	o.Registerer = prometheus.NewRegistry()
	w, err := worker.New(s.connect(), queue, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

func (s *service) connect() *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect("", append(client.ConnectOptions(), s.srv.InProcess())...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

func (s *service) client(opts ...client.Option) *client.Client {
	s.t.Helper()
	c, err := client.New(s.connect(), opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestLease(t *testing.T) {
	c := startService(t, nil, worker.Options{InlineLimits: worker.InlineAlways}).client()
	limit := client.WithRate(1000, time.Hour)
	l, err := c.Lease(t.Context(), "k", limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if taken, err := l.Take(t.Context(), 1); err != nil || !taken.Allowed {
			t.Fatalf("take %d: %+v, %v", i, taken, err)
		}
	}
	res, err := c.Peek(t.Context(), "k", limit)
	if err != nil || res.Remaining+l.Held() != 700 || l.Held() == 0 {
		t.Errorf("%d held and %d left, %v", l.Held(), res.Remaining, err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if res, err := c.Peek(t.Context(), "k", limit); err != nil || res.Remaining != 700 {
		t.Errorf("after Close %d are left, %v", res.Remaining, err)
	}
	if _, err := l.Take(t.Context(), 1); !errors.Is(err, client.ErrLeaseClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func BenchmarkLease(b *testing.B) {
	c := startService(b, nil, worker.Options{InlineLimits: worker.InlineAlways}).client()
	for _, bb := range []struct {
		name string
		opt  client.CheckOption
		many bool
	}{
		{"one", client.WithRate(1<<40, time.Second), false},
		{"contended", client.WithRate(1<<40, time.Second), true},
		{"denied", client.WithRate(1, time.Hour), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l, err := c.Lease(b.Context(), "k", bb.opt)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close(b.Context())
			for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
				if _, err := l.Take(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
			ctx := b.Context()
			b.ReportAllocs()
			if !bb.many {
				for b.Loop() {
					if _, err := l.Take(ctx, 1); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.Take(ctx, 1); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
