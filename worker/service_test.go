package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

func TestDiscovery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{
			DefaultLimit: perSecond, Version: "1.2.3-rc.1", Instance: "w1",
			Status: func() Status { return Status{Backend: "redis", Breaker: "half-open"} },
		})
		var info micro.Info
		r.decode("$SRV.INFO.ratelimit", &info)
		if info.Name != "ratelimit" || info.Version != "1.2.3-rc.1" || info.Metadata["instance"] != "w1" || info.Description == "" {
			t.Errorf("info is %+v", info)
		}
		want := map[string]string{
			"check": "ratelimit.check", "check-key": "ratelimit.check.>",
			"peek": "ratelimit.peek", "peek-key": "ratelimit.peek.>",
			"reset": "ratelimit.reset", "reset-key": "ratelimit.reset.>",
			"refund": "ratelimit.refund", "refund-key": "ratelimit.refund.>",
		}
		for _, e := range info.Endpoints {
			if want[e.Name] != e.Subject || e.QueueGroup != wire.QueueGroup {
				t.Errorf("endpoint %s is on %s in group %s, want %s in %s", e.Name, e.Subject, e.QueueGroup, want[e.Name], wire.QueueGroup)
			}
			for _, about := range []string{"description", "key", "request", "request_many", "response"} {
				if e.Metadata[about] == "" {
					t.Errorf("endpoint %s has no %s", e.Name, about)
				}
			}
			delete(want, e.Name)
		}
		if len(want) > 0 {
			t.Errorf("there are no endpoints %v", want)
		}

		r.one("ratelimit.check.k", `{"cost":5}`)
		r.one("ratelimit.check.k", ``)
		r.one("ratelimit.check.k", `{"cost":6}`)
		r.one("ratelimit.check", `{"key":"k"}`)
		r.one("ratelimit.reset.k", ``)
		synctest.Wait() // a check has landed a moment after its reply is sent
		var stats micro.Stats
		r.decode("$SRV.STATS.ratelimit", &stats)
		got := make(map[string]endpointStats)
		for _, e := range stats.Endpoints {
			var data endpointStats
			if err := json.Unmarshal(e.Data, &data); err != nil {
				t.Fatalf("data of %s: %v", e.Name, err)
			}
			got[e.Name] = data
		}
		s := Status{Backend: "redis", Breaker: "half-open"}
		for name, want := range map[string]endpointStats{
			"check-key": {Status: s, Allowed: 1, Denied: 1, Errors: 1, Degraded: 2},
			"check":     {Status: s, Denied: 1, Degraded: 1},
			"reset-key": {Status: s, Allowed: 1, Degraded: 1},
			"peek":      {Status: s},
		} {
			if got[name] != want {
				t.Errorf("data of %s: got %+v, want %+v", name, got[name], want)
			}
		}
		if data := string(stats.Endpoints[0].Data); !strings.Contains(data, `"backend":"redis","breaker":"half-open","allowed":`) {
			t.Errorf("the data reads %s", data)
		}
	})
}

// The examples that people see are good requests and replies, and whole.
func TestExamples(t *testing.T) {
	for _, r := range (&Worker{metrics: newMetrics(newFlight(), "0.0.0")}).routes() {
		for _, about := range []string{"request", "request_many"} {
			body := strings.TrimSuffix(r.meta[about], ", or nothing")
			if _, err := wire.DecodeRequest([]byte(body)); err != nil {
				t.Errorf("%s of %s, %s: %v", about, r.name, body, err)
			}
		}
		for about, text := range r.meta {
			if len(text) > aboutLength && about != "response" {
				t.Errorf("%s of %s has %d bytes and will be cut at %d: %s", about, r.name, len(text), aboutLength, text)
			}
		}
	}
	reply, err := wire.DecodeReply([]byte(exampleReply))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(wire.AppendReply(nil, &reply)); got != exampleReply {
		t.Errorf("the example of a reply is %s, and should be %s", exampleReply, got)
	}
}

func TestNewRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		q := &stuckQueue{}
		reg := prometheus.NewRegistry()
		for name, test := range map[string]struct {
			options Options
			want    string
		}{
			"version":       {Options{Version: "v1"}, `version "v1" is not a semantic version`},
			"age":           {Options{MaxAge: -1}, "must not be negative"},
			"default limit": {Options{DefaultLimit: limiter.Limit{Rate: 5}}, "the default limit: invalid limit: interval 0s"},
		} {
			test.options.Registerer = reg
			_, err := New(connect(t, srv), q, test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
		}
		if _, err := New(nil, q, Options{}); err == nil {
			t.Error("New without a connection returned no error")
		}
		closed := connect(t, srv)
		closed.Close()
		if _, err := New(closed, q, Options{Registerer: reg}); !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("New on a closed connection: %v", err)
		}
		// None of them has left metrics behind; a second worker would.
		nc := connect(t, srv)
		w, err := New(nc, q, Options{Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(nc, q, Options{Registerer: reg}); err == nil || !strings.Contains(err.Error(), "cannot register the metrics") {
			t.Errorf("a second worker on one registry: %v", err)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// network leads to a server that can be absent or replaced.
type network struct {
	mu  sync.Mutex
	srv *natsembed.Server
}

// InProcessConn implements nats.InProcessConnProvider.
func (n *network) InProcessConn() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.srv == nil {
		return nil, errors.New("nobody there")
	}
	var o nats.Options
	if err := n.srv.InProcess()(&o); err != nil {
		return nil, err
	}
	return o.InProcessServer.InProcessConn()
}

func (n *network) set(srv *natsembed.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.srv = srv
}

// A worker can be made before its server is there, and is back when the server
// is.
func TestServerComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var world network
		reconnect := []nats.Option{nats.InProcessServer(&world), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
			nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(0, 0)}
		nc, err := nats.Connect("", reconnect...)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		b := batch.New(memstore.New(memstore.Options{}), batch.Options{})
		defer b.Close(context.Background())
		w, err := New(nc, b, Options{DefaultLimit: perHour})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer srv.Shutdown()
			world.set(srv)
			time.Sleep(time.Second)
			r := &rig{t: t, nc: connect(t, srv)}
			if got, want := r.one("ratelimit.check.k", ""), int64(4-round); got.Remaining != want {
				t.Errorf("round %d: got %+v, want %d remaining", round, got, want)
			}
			if round == 0 {
				world.set(nil)
				srv.Shutdown()
				time.Sleep(time.Minute)
			}
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond, Version: "1.2.3"})
		r.wantMetrics(map[string]float64{`ratelimit_errors_total{code="overloaded"}`: 0})
		r.one("ratelimit.check.k", `{"cost":5}`)
		r.one("ratelimit.check.k", ``)
		r.one("ratelimit.check.k", `{"cost":6}`)
		r.one("ratelimit.check.k", `{`)
		r.ask("ratelimit.check", `{"checks":[{"key":"a"},{"key":"k"},{"key":"a","cost":9}]}`)
		r.one("ratelimit.refund.k", `{"cost":5}`)
		r.wantMetrics(map[string]float64{
			`ratelimit_checks_total{result="allowed",source="memory",verb="check"}`:  2,
			`ratelimit_checks_total{result="denied",source="memory",verb="check"}`:   2,
			`ratelimit_checks_total{result="error",source="none",verb="check"}`:      3,
			`ratelimit_checks_total{result="allowed",source="memory",verb="refund"}`: 1,
			`ratelimit_checks_total{result="allowed",source="redis",verb="check"}`:   0,
			`ratelimit_errors_total{code="cost_exceeds_burst"}`:                      2,
			`ratelimit_errors_total{code="invalid_request"}`:                         1,
			`ratelimit_check_duration_seconds{verb="check"}`:                         4,
			`ratelimit_inflight_checks`:                                              0,
			`ratelimit_nats_errors_total{kind="slow_consumer"}`:                      0,
		})
		r.one("ratelimit.check.mallory", ``)
		for name := range r.gather() {
			if strings.Contains(name, "mallory") {
				t.Errorf("%s has a label that a caller chooses", name)
			}
		}
	})
}

// A worker that may not answer says so, and goes on.
func TestNATSErrorsAreCountedAndLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &recorder{}
		var before []error
		srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		nc := connect(t, srv, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { before = append(before, err) }))
		r := &rig{t: t, srv: srv, nc: nc, workerNC: nc, metrics: prometheus.NewRegistry()}
		w, err := New(nc, &stuckQueue{}, Options{DefaultLimit: perSecond, Logger: log.logger(), Registerer: r.metrics})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := nc.SubscribeSync("somewhere")
		if err != nil {
			t.Fatal(err)
		}
		handler := nc.ErrorHandler()
		handler(nc, sub, nats.ErrSlowConsumer)
		for range 3 {
			handler(nc, nil, nats.ErrPermissionViolation)
		}
		handler(nc, nil, nats.ErrBadHeaderMsg)
		r.wantMetrics(map[string]float64{
			`ratelimit_nats_errors_total{kind="slow_consumer"}`: 1,
			`ratelimit_nats_errors_total{kind="permission"}`:    3,
			`ratelimit_nats_errors_total{kind="other"}`:         1,
		})
		for text, want := range map[string]int{"subject=somewhere dropped=0": 1, "refuses this worker a subject": 1, "reports an error": 1} {
			if got := log.count(text); got != want {
				t.Errorf("%q was logged %d times, want %d:\n%s", text, got, want, log)
			}
		}
		if len(before) != 5 {
			t.Errorf("the handler that was set before got %d errors, want 5", len(before))
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A flood that the handler cannot keep up with is dropped at the bounds that
// the subscriptions have, and the worker stays in the queue group.
func TestFloodIsDropped(t *testing.T) {
	gate := make(gateQueue)
	r := newRig(t, gate, Options{DefaultLimit: perSecond})
	const flood = pendingMessages + 1000
	for range flood {
		if err := r.nc.PublishRequest("ratelimit.check.k", "replies.flood", nil); err != nil {
			t.Fatal(err)
		}
	}
	r.flush()
	within(t, 10*time.Second, "a slow consumer to be counted", func() bool {
		return r.value(`ratelimit_nats_errors_total{kind="slow_consumer"}`) >= 1
	})
	close(gate)
	if got := r.one("ratelimit.peek.k", ""); got.Err == nil || got.Err.Code != wire.CodeOverloaded {
		t.Errorf("after the flood: %+v, want an answer from the queue", got)
	}
	if err := r.worker.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := r.value(`ratelimit_shed_total{reason="overloaded"}`); got < pendingMessages || got > flood-500 {
		t.Errorf("%v of %d checks were handled, want some more than %d", got, flood, pendingMessages)
	}
}

// gateQueue holds up the handler until it is closed, and refuses everything.
type gateQueue chan struct{}

func (g gateQueue) Submit(...batch.Item) (int, error) {
	<-g
	return 0, batch.ErrOverloaded
}

// helpers

func (r *rig) decode(subject string, v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.ask(subject, "").Data, v); err != nil {
		r.t.Fatalf("%s: %v", subject, err)
	}
}

// flush returns when the server and the worker have got what was published.
func (r *rig) flush() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	for _, nc := range []*nats.Conn{r.nc, r.workerNC} {
		if err := nc.FlushWithContext(ctx); err != nil {
			r.t.Fatal(err)
		}
	}
}

// gather returns all metrics by their names and labels.
func (r *rig) gather() map[string]*dto.Metric {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	all := make(map[string]*dto.Metric)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = m
		}
	}
	return all
}

// value returns a counter, a gauge, or how many values a histogram has seen.
func (r *rig) value(name string) float64 {
	r.t.Helper()
	m := r.gather()[name]
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return math.NaN()
}

func (r *rig) wantMetrics(want map[string]float64) {
	r.t.Helper()
	synctest.Wait()
	for name, want := range want {
		if got := r.value(name); got != want {
			r.t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// recorder keeps what is logged.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recorder) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

func (r *recorder) count(text string) int { return strings.Count(r.String(), text) }

func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", d, what)
		}
	}
}
