package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// Stop returns when everything that had arrived is answered, and not before.
func TestStopAnswersWhatArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, slowQueue(t, time.Second, batch.Options{Size: 10}), Options{DefaultLimit: perSecond, MaxAge: time.Minute})
		var answered atomic.Int64
		inbox := r.nc.NewInbox()
		if _, err := r.nc.Subscribe(inbox, func(m *nats.Msg) { answered.Add(1) }); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			if err := r.nc.PublishRequest(fmt.Sprintf("ratelimit.check.k%d", i), inbox, nil); err != nil {
				t.Fatal(err)
			}
		}
		r.flush()
		began := time.Now()
		if err := r.worker.Stop(t.Context()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
			t.Errorf("Stop took %s, want 5 or 6 batches of 1 s", took)
		}
		synctest.Wait()
		if got := answered.Load(); got != 50 {
			t.Errorf("%d checks were answered, want 50", got)
		}
		if _, err := r.nc.RequestWithContext(t.Context(), "ratelimit.check.k", nil); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("a check after Stop: %v, want no responders", err)
		}
		if err := r.worker.Stop(t.Context()); err != nil {
			t.Errorf("Stop again: %v", err)
		}
	})
}

// stuckQueue keeps what it gets.
type stuckQueue struct{ items []batch.Item }

func (q *stuckQueue) Submit(items ...batch.Item) (int, error) {
	q.items = append(q.items, items...)
	return len(items), nil
}

func TestStopGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &stuckQueue{}
		srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		nc := connect(t, srv)
		w, err := New(nc, q, Options{DefaultLimit: perSecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("ratelimit.check.k", nc.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err = w.Stop(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 checks have not been decided") {
			t.Errorf("Stop: %v, want that 1 check is missing", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Stop gave up after %s, want 3 s", took)
		}
		// The answer that comes after all does no harm.
		q.items[0].Done(nil, batch.ErrDeadline)
	})
}

func TestStopWithoutConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		nc := connect(t, srv)
		q := &stuckQueue{}
		w, err := New(nc, q, Options{DefaultLimit: perSecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("ratelimit.check.k", nc.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		nc.Close()
		q.items[0].Done(&limiter.Result{Allowed: true, Source: limiter.SourceMemory, Levels: make([]limiter.Level, 1)}, nil)
		began := time.Now()
		if err := w.Stop(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("Stop: %v, want ErrConnectionClosed", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Stop took %s", took)
		}
	})
}

// Two workers are replaced twenty times while callers ask all the time: first
// the new one comes, then the old one goes. Every check is answered, and no
// worker admits more than its bucket holds.
func TestRollingRestartsLoseNoCheck(t *testing.T) {
	srv, err := natsembed.Start(natsembed.Options{Port: natsembed.RandomPort})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	store := memstore.New(memstore.Options{}) // shared, as Redis would be

	type instance struct {
		nc     *nats.Conn
		queue  *batch.Batcher
		worker *Worker
	}
	start := func() instance {
		nc, err := nats.Connect(srv.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		// Slow enough that there is always something under way.
		queue := batch.New(&slowStore{store, time.Millisecond}, batch.Options{})
		w, err := New(nc, queue, Options{DefaultLimit: limiter.Limit{Rate: 1 << 40, Interval: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		return instance{nc, queue, w}
	}
	stop := func(i instance) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := i.worker.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err := i.queue.Close(ctx); err != nil {
			t.Errorf("Close of the queue: %v", err)
		}
		i.nc.Close()
	}

	workers := [2]instance{start(), start()}
	var (
		asked, failed atomic.Int64
		callers       sync.WaitGroup
		over          = make(chan struct{})
	)
	var nc *nats.Conn
	for c := range 64 {
		if c%16 == 0 {
			if nc, err = nats.Connect(srv.ClientURL()); err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
		}
		nc := nc
		callers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				subject, body := fmt.Sprintf("ratelimit.check.k%d", c), ""
				if i%4 == 0 {
					subject, body = "ratelimit.check", `{"checks":[{"key":"a"},{"key":"b"}]}`
				}
				asked.Add(1)
				msg, err := nc.Request(subject, []byte(body), 5*time.Second)
				if err == nil && msg.Header.Get(wire.HeaderErrorCode) != "" {
					err = errors.New(string(msg.Data))
				}
				if err != nil {
					failed.Add(1)
					t.Errorf("check %d of caller %d: %v", i, c, err)
					return
				}
			}
		})
	}
	for i := range 20 {
		before := asked.Load()
		next := start()
		stop(workers[i%2])
		workers[i%2] = next
		for asked.Load() < before+200 && failed.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	close(over)
	callers.Wait()
	stop(workers[0])
	stop(workers[1])
	t.Logf("%d checks, %d failed", asked.Load(), failed.Load())
}
