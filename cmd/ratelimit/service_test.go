package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker"
)

// startNATS starts a NATS server on a free port of the loopback interface.
func startNATS(opts server.Options) (*server.Server, error) {
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(&opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stopNATS(s)
		return nil, errors.New("the NATS server did not start")
	}
	return s, nil
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// connect connects to a server inside this process, as whoever it lets in:
// the user of a credentials file if one is given.
func connect(at *server.Server, creds string) (*nats.Conn, error) {
	opts := []nats.Option{nats.InProcessServer(at), nats.NoReconnect()}
	if creds != "" {
		opts = append(opts, nats.UserCredentials(creds))
	} else {
		opts = append(opts, nats.UserInfo("worker", "hush-hush"), nats.Token("hush-hush"))
	}
	return nats.Connect("", opts...)
}

// service is a worker over memory buckets.
type service struct {
	nc      *nats.Conn
	batcher *batch.Batcher
	worker  *worker.Worker
	clock   *clockStore
}

// serve starts a service at a NATS server. Its answers are degraded unless
// shared is true, and then it pretends that its buckets are in Redis.
func serve(at *server.Server, creds string, shared bool, o worker.Options) (*service, error) {
	nc, err := connect(at, creds)
	if err != nil {
		return nil, err
	}
	s := &service{nc: nc, clock: newClockStore(shared)}
	s.batcher = batch.New(s.clock, batch.Options{})
	s.worker, err = worker.New(nc, busyQueue{s.batcher}, o)
	if err != nil {
		return nil, errors.Join(err, s.batcher.Close(context.Background()))
	}
	return s, nil
}

func (s *service) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := errors.Join(s.worker.Stop(ctx), s.batcher.Close(ctx))
	s.nc.Close()
	return err
}

// open is a worker that takes limits from requests and has one of its own.
var open = worker.Options{
	InlineLimits: worker.InlineUnmatched,
	DefaultLimit: limiter.Limit{Rate: 10, Interval: time.Second, Burst: 100},
}

// busyQueue has no room for the key busy.
type busyQueue struct{ worker.Queue }

func (q busyQueue) Submit(items ...batch.Item) (int, error) {
	for i, item := range items {
		if item.Check().Demands[0].Key == "busy" {
			return i, batch.ErrOverloaded
		}
		if _, err := q.Queue.Submit(item); err != nil {
			return i, err
		}
	}
	return len(items), nil
}

// clockStore is a store whose clock stands still until it is moved. A forgetful
// one forgets every hundredth batch that it has taken anything.
type clockStore struct {
	store     *memstore.Store
	now       atomic.Int64 // microseconds since the Unix epoch
	shared    bool
	forgetful atomic.Bool
	batches   int
}

func newClockStore(shared bool) *clockStore {
	s := &clockStore{store: memstore.New(memstore.Options{}), shared: shared}
	s.now.Store(1_700_000_000_000_000)
	return s
}

func (s *clockStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if s.batches++; s.forgetful.Load() && s.batches%100 == 0 {
		s.store = memstore.New(memstore.Options{})
	}
	err := s.store.TakeAt(ctx, time.UnixMicro(s.now.Load()), checks, results)
	if err == nil && s.shared {
		for i := range results {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}
