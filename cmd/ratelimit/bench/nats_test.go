package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// startNATS starts a server and returns what connects to it.
func startNATS(t *testing.T) func() *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

const granted = `{"allowed":true,"key":"bench.0","limit":100,"remaining":99,"retry_after_ms":0,"reset_after_ms":100,"window_ms":10000,"limit_name":"default","source":"redis","degraded":false}`

// TestAsync asks an echo over two connections, in both loops.
func TestAsync(t *testing.T) {
	connect := startNATS(t)
	root := EchoRoot()
	if err := Echo(connect(), root, []byte(granted)); err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t, 10, Uniform)
	target := NewAsync([]*nats.Conn{connect(), connect()}, root, keys, nil, time.Second)
	for _, rate := range []float64{0, 2000} {
		a := NewAdmissions(10, nil, false)
		r := Run(t.Context(), target, &Load{Keys: keys, Concurrency: 9, Rate: rate, Cost: 1, Duration: 200 * time.Millisecond, Warmup: 50 * time.Millisecond, Admissions: a})
		if r.Counts.Allowed < 100 || r.Counts.Failed > 0 || r.FirstError != nil {
			t.Errorf("rate %v: got %+v, %v", rate, r.Counts, r.FirstError)
		}
		if due := r.Counts.Allowed + r.Counts.Unsent; rate > 0 && due != 500 {
			t.Errorf("%d checks were due, want 500", due)
		}
		// An echo grants without end, and that must come out.
		v := a.Judge(keys)
		if v.Granted != r.Counts.Allowed || v.Judged != 10 || rate == 0 && v.OverKeys == 0 {
			t.Errorf("rate %v: got %+v of %+v", rate, v, r.Counts)
		}
	}
}

// TestAsyncKeepsConcurrency looks from the other end how many checks are in
// flight.
func TestAsyncKeepsConcurrency(t *testing.T) {
	connect := startNATS(t)
	waiting := make(chan *nats.Msg, 100)
	if _, err := connect().Subscribe("slow.>", func(m *nats.Msg) { waiting <- m }); err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t, 10, Uniform)
	nc := connect()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	done := make(chan *Round)
	go func() {
		done <- Run(t.Context(), NewAsync([]*nats.Conn{nc}, "slow", keys, nil, 5*time.Second), &Load{Keys: keys, Concurrency: 7, Duration: 200 * time.Millisecond})
	}()
	replies := make(map[string]bool)
	var held []*nats.Msg
	for range 7 {
		m := <-waiting
		replies[m.Reply] = true
		held = append(held, m)
	}
	select {
	case <-waiting:
		t.Error("an eighth check is in flight")
	case <-time.After(50 * time.Millisecond):
	}
	if len(replies) != 7 {
		t.Errorf("%d reply subjects, want one for each of 7 checks in flight", len(replies))
	}
	answer := func(m *nats.Msg) {
		if err := m.Respond([]byte(`{"allowed":false,"key":"k","limit":1,"remaining":0,"limit_name":"default","source":"redis","degraded":false}`)); err != nil {
			t.Error(err)
		}
	}
	for _, m := range held {
		answer(m)
	}
	for {
		select {
		case m := <-waiting:
			answer(m)
		case r := <-done:
			if r.Counts.Denied < 7 || r.Counts.Failed > 0 {
				t.Errorf("got %+v", r.Counts)
			}
			return
		}
	}
}

// TestAsyncGivesUp asks somebody who answers each second check too late, which
// is when the slot of the check already has another one. Those fail, their
// slots go on, and the late answers pass for nothing.
func TestAsyncGivesUp(t *testing.T) {
	const slots = 3
	connect := startNATS(t)
	var n atomic.Int64
	var held [slots]*nats.Msg
	if _, err := connect().Subscribe("deaf.>", func(m *nats.Msg) {
		number, err := strconv.Atoi(m.Reply[strings.LastIndexByte(m.Reply, '.')+1:])
		if err != nil {
			t.Error(err)
			return
		}
		slot := number % slots
		if late := held[slot]; late != nil && late.Reply != m.Reply {
			_ = late.Respond([]byte(strings.Replace(granted, "true", "false", 1)))
			held[slot] = nil
		}
		if n.Add(1)%2 == 1 {
			held[slot] = m
			return
		}
		_ = m.Respond([]byte(granted))
	}); err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t, 10, Uniform)
	nc := connect()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, rate := range []float64{0, 200} {
		n.Store(0)
		r := Run(t.Context(), NewAsync([]*nats.Conn{nc}, "deaf", keys, nil, 50*time.Millisecond), &Load{Keys: keys, Concurrency: slots, Rate: rate, Duration: 400 * time.Millisecond})
		if r.Errors["deadline_exceeded"] < 3 || r.Counts.Allowed < 3 || r.Counts.Denied > 0 || r.Counts.Allowed+r.Counts.Failed != n.Load() {
			t.Errorf("rate %v: got %+v, %v of %d that were asked", rate, r.Counts, r.Errors, n.Load())
		}
	}
}

func TestAsyncNobodyThere(t *testing.T) {
	connect := startNATS(t)
	keys := newKeys(t, 10, Uniform)
	r := Run(t.Context(), NewAsync([]*nats.Conn{connect()}, "nobody", keys, nil, time.Second), &Load{Keys: keys, Concurrency: 3, Duration: 20 * time.Millisecond})
	if r.Counts.Failed == 0 || r.Errors["unavailable"] != r.Counts.Failed || !strings.Contains(fmt.Sprint(r.FirstError), "no workers") {
		t.Errorf("got %+v, %v, %v", r.Counts, r.Errors, r.FirstError)
	}
}

func TestRequests(t *testing.T) {
	connect := startNATS(t)
	root := EchoRoot()
	if got, want := len(root), len(wire.Subject(wire.VerbCheck, "")); got != want || root == EchoRoot() {
		t.Errorf("%q is %d bytes long or not random, want %d bytes", root, got, want)
	}
	if err := Echo(connect(), root, []byte(granted)); err != nil {
		t.Fatal(err)
	}
	keys := newKeys(t, 10, Zipf)
	r := Run(t.Context(), Callers{Requests(connect(), root, keys, time.Second)}, &Load{Keys: keys, Concurrency: 3, Duration: 50 * time.Millisecond})
	if r.Counts.Allowed == 0 || r.Counts.Failed > 0 {
		t.Errorf("got %+v, %v", r.Counts, r.FirstError)
	}
}

func TestRead(t *testing.T) {
	limit := Limit{Name: "default", Tokens: 100, Window: 10 * time.Second}
	for _, c := range []struct {
		body  string
		whole bool
		want  Answer
		code  string
	}{
		{body: granted, want: Answer{Allowed: true}},
		{body: granted, whole: true, want: Answer{Allowed: true, Limit: limit}},
		{body: strings.Replace(granted, "true", "false", 1), want: Answer{}},
		{body: strings.Replace(granted, `"degraded":false`, `"degraded":true`, 1), want: Answer{Allowed: true, Degraded: true, Limit: limit}},
		{body: strings.Replace(granted, `"degraded":false`, `"degraded":false,"would_deny":true`, 1), want: Answer{Allowed: true, Shadow: true, Limit: limit}},
		{body: `{"error":{"code":"overloaded","message":"full"}}`, code: "overloaded"},
		{body: ``, code: "unavailable"},
		{body: `hello`, code: "unavailable"},
	} {
		got, err := read([]byte(c.body), c.whole)
		if got != c.want || (err != nil) != (c.code != "") || err != nil && codeOf(err) != c.code {
			t.Errorf("%q: got %+v, %v; want %+v %s", c.body, got, err, c.want, c.code)
		}
	}
}

func TestOverHTTP(t *testing.T) {
	var requests atomic.Int64
	mode := "door"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		if !strings.HasPrefix(r.URL.Path, "/v1/check/bench.") || r.Method != http.MethodPost {
			t.Errorf("got %s %s", r.Method, r.URL)
		}
		switch {
		case mode == "other":
			fmt.Fprint(w, "<html>")
		case n%3 == 0:
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, strings.Replace(granted, "true", "false", 1))
		case n%3 == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":{"code":"overloaded","message":"full"}}`)
		default:
			fmt.Fprint(w, granted)
		}
	}))
	defer s.Close()
	keys := newKeys(t, 10, Uniform)
	ask, err := OverHTTP(s.URL, keys, nil, 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r := Run(t.Context(), Callers{ask}, &Load{Keys: keys, Concurrency: 2, Duration: 50 * time.Millisecond})
	if c := r.Counts; c.Allowed == 0 || c.Denied == 0 || r.Errors["overloaded"] == 0 || r.Errors["overloaded"] != c.Failed {
		t.Errorf("got %+v, %v", c, r.Errors)
	}
	mode = "other"
	if _, err := ask(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "not as the HTTP bridge does") {
		t.Errorf("somebody else's server: got %v", err)
	}
	for _, bad := range []string{"", "localhost:8080", "ftp://x", "http://"} {
		if _, err := OverHTTP(bad, keys, nil, 1, time.Second); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestReportShape holds the names of the JSON document, which programs read.
func TestReportShape(t *testing.T) {
	round := func(perSecond float64) *Round {
		h := newHistogram()
		record(h, time.Millisecond)
		return &Round{PerSecond: perSecond, Latency: h, Late: h, Counts: Counts{Allowed: 1}, Errors: map[string]int64{"overloaded": 2}}
	}
	o := &Outcome{Target: []*Round{round(10), round(30), round(20)}, Baseline: []*Round{round(20), round(30), round(80)}, Redis: 2 * time.Microsecond, Worker: time.Microsecond}
	r := NewReport(Setup{Client: "async", Rate: 5, Rounds: 3, RoundSeconds: 1, Distribution: Zipf, Skew: 1.1, Cost: 1}, o, Verdict{Keys: 1, Judged: 1})
	if got, want := r.Ratios.PerSecond, (Spread{0.5, 0.25, 1}); got != want {
		t.Errorf("got ratios %v, want %v", got, want)
	}
	if got, want := r.Service.PerSecond, (Spread{20, 10, 30}); got != want {
		t.Errorf("got checks/s %v, want %v", got, want)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"setup.client", "setup.rate", "setup.round_seconds",
		"service.checks_per_second.median", "service.latency_us.p50.median", "service.latency_us.p99.9.max", "service.latency_us.max.min",
		"service.counts.allowed", "service.counts.unsent", "service.errors.overloaded",
		"baseline.checks_per_second.median", "ratios.checks_per_second.median", "ratios.p50.min", "ratios.p99.max",
		"pacer_late_us.p99", "redis_cpu_us_per_check", "worker_cpu_us_per_check",
		"admission.granted_tokens", "admission.over_keys", "admission.nearest",
	} {
		at := any(doc)
		for _, name := range strings.Split(strings.ReplaceAll(path, "p99.9", "p999"), ".") {
			if name == "p999" {
				name = "p99.9"
			}
			m, _ := at.(map[string]any)
			at = m[name]
		}
		if at == nil {
			t.Errorf("the document has no %s: %s", path, text)
		}
	}
}

func TestWriteText(t *testing.T) {
	h := newHistogram()
	for i := range 100 {
		record(h, time.Duration(i+1)*100*time.Microsecond)
	}
	o := &Outcome{Target: []*Round{{PerSecond: 1000, Latency: h, Late: h, Counts: Counts{Allowed: 90, Denied: 10}}}}
	over := Verdict{Granted: 90, Keys: 1, Judged: 1, OverKeys: 1, OverTokens: 5, Over: []Excess{{Name: "bench.0", Granted: 90, Most: 85, Within: time.Second, Limit: Limit{Name: "default"}}}}
	var b strings.Builder
	if err := NewReport(Setup{Client: "request", Concurrency: 1, Connections: 1, Keys: 1, Distribution: Hot, Cost: 1, Rounds: 1, RoundSeconds: 1}, o, over).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"client request, closed loop, 1 in flight, 1 connection, one hot key; 1 round of 1s\n",
		"checks/s     1000",
		"p50   5.00ms",
		"90 allowed, 10 denied, 0 failed\n",
		"OVER-ADMITTED: 1 key granted 5 tokens more than the limits allow\n  bench.0: 90 tokens in 1s, and the limit default allows 85\n",
		"  up to  8.19ms   24.00%  ################",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
}

func TestMeters(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25\nprocess_cpu_seconds_total_more 9\n")
	}))
	defer s.Close()
	m, err := MetricsMeter(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Sum([]Meter{m, m})(t.Context()); got != 2500*time.Millisecond || err != nil {
		t.Errorf("got %s, %v; want 2.5s", got, err)
	}
	wrong, err := MetricsMeter(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wrong(t.Context()); err == nil {
		t.Errorf("no metrics: got %s and no error", got)
	}
	if got, err := sum(strings.NewReader("used_cpu_sys:1.5\r\nused_cpu_user:2\r\n"), ":", "used_cpu_sys", "used_cpu_user"); got != 3500*time.Millisecond || err != nil {
		t.Errorf("got %s, %v; want 3.5s", got, err)
	}
}
