package worker

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// perSecond is the limit of the semantics script: 1/s burst 5.
var perSecond = limiter.Limit{Rate: 1, Interval: time.Second, Burst: 5}

// rig is a server, a worker on it, and a connection to ask with.
type rig struct {
	t        testing.TB
	srv      *natsembed.Server
	nc       *nats.Conn // the caller's
	workerNC *nats.Conn
	worker   *Worker
	metrics  *prometheus.Registry
}

// newRig starts everything over the given queue, or over memory if it is nil.
// It opens no socket, so it works in a synctest bubble.
func newRig(t testing.TB, queue Queue, o Options) *rig {
	t.Helper()
	return newRigOn(t, 0, queue, o)
}

// newRigOn is newRig with a bound on messages.
func newRigOn(t testing.TB, maxPayload int32, queue Queue, o Options) *rig {
	t.Helper()
	srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true, MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	if queue == nil {
		b := batch.New(memstore.New(memstore.Options{}), batch.Options{})
		t.Cleanup(func() {
			if err := b.Close(context.Background()); err != nil {
				t.Errorf("closing the queue: %v", err)
			}
		})
		queue = b
	}
	r := &rig{t: t, srv: srv, nc: connect(t, srv), workerNC: connect(t, srv), metrics: prometheus.NewRegistry()}
	o.Registerer = r.metrics
	r.worker, err = New(r.workerNC, queue, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.worker.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return r
}

func connect(t testing.TB, srv *natsembed.Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", append(opts, srv.InProcess())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ask sends a request and returns the reply.
func (r *rig) ask(subject, body string, headers ...string) *nats.Msg {
	r.t.Helper()
	msg := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		msg.Header[headers[i]] = []string{headers[i+1]}
	}
	// With a context, because the requests with a timeout share their timers,
	// which must not leave a synctest bubble.
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	reply, err := r.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		r.t.Fatalf("%s %s: %v", subject, body, err)
	}
	return reply
}

// one is ask for the answer to one check.
func (r *rig) one(subject, body string, headers ...string) wire.Reply {
	r.t.Helper()
	msg := r.ask(subject, body, headers...)
	reply, err := wire.DecodeReply(msg.Data)
	if err != nil {
		r.t.Fatalf("%s %s answered %q: %v", subject, body, msg.Data, err)
	}
	return reply
}

// wantError checks that a request is refused with the code, its headers, and a
// message that contains part.
func (r *rig) wantError(code wire.Code, part, subject, body string, headers ...string) {
	r.t.Helper()
	msg := r.ask(subject, body, headers...)
	reply, err := wire.DecodeReply(msg.Data)
	if err != nil || reply.Err == nil {
		r.t.Errorf("%.60s %.60s answered %s, want the error %s", subject, body, msg.Data, code)
		return
	}
	if reply.Err.Code != code || !strings.Contains(reply.Err.Message, part) {
		r.t.Errorf("%.60s %.60s: got %v, want %s: ... %s ...", subject, body, reply.Err, code, part)
	}
	if got := msg.Header.Get(wire.HeaderError); got != string(code) {
		r.t.Errorf("%.60s %.60s: header %s is %q, want %q", subject, body, wire.HeaderError, got, code)
	}
	if got, want := msg.Header.Get(wire.HeaderErrorCode), strconv.Itoa(code.HTTPStatus()); got != want {
		r.t.Errorf("%.60s %.60s: header %s is %q, want %q", subject, body, wire.HeaderErrorCode, got, want)
	}
}

// bubble is synctest.Test for tests that drain NATS subscriptions. The
// nats.go package keeps the timers of its flushes in a sync.Pool; one that was
// made in a bubble must not be used outside, so the pool is emptied, which
// takes two collections. And it looks only every 100 ms whether a subscription
// is drained, which it should see before the bubble ends.
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
