package httpbridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a rate limiter for tests: it decides in memory, by the inline
// limit of the request or else by a default one.
type service struct {
	store limiter.Store

	mu   sync.Mutex
	seen []wire.Request // in order
}

func newService() *service { return &service{store: memstore.New(memstore.Options{})} }

// asked returns the keys that were asked about so far.
func (s *service) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for i := range s.seen {
		keys = append(keys, s.seen[i].Key)
	}
	return keys
}

// requests returns what it was asked so far.
func (s *service) requests() []wire.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *service) decide(ctx context.Context, verb wire.Verb, r *wire.Request) wire.Reply {
	s.mu.Lock()
	s.seen = append(s.seen, *r)
	s.mu.Unlock()
	refuse := func(code wire.Code, err error) wire.Reply {
		return wire.Reply{Key: r.Key, Err: wire.Errorf(code, "%s", err)}
	}
	limit := limiter.Limit{Rate: 10, Interval: time.Second, Burst: 100}
	if r.Rate > 0 {
		limit = limiter.Limit{Rate: r.Rate, Interval: time.Duration(r.IntervalMicros) * time.Microsecond, Burst: r.Burst}
	}
	rule, err := limit.Compile()
	if err != nil {
		return refuse(wire.CodeLimitNotRepresentable, err)
	}
	check := limiter.Check{Op: limiter.Take, Demands: []limiter.Demand{{Key: r.Key, Rule: rule, Cost: r.Cost}}}
	switch verb {
	case wire.VerbPeek:
		check.Demands[0].Cost = 0
	case wire.VerbReset:
		check.Op = limiter.Reset
	case wire.VerbRefund:
		check.Op = limiter.Refund
	}
	results := make([]limiter.Result, 1)
	switch err := s.store.Take(ctx, []limiter.Check{check}, results); {
	case errors.Is(err, limiter.ErrCostExceedsBurst):
		return refuse(wire.CodeCostExceedsBurst, err)
	case err != nil:
		return refuse(wire.CodeUnavailable, err)
	}
	level := results[0].Levels[0]
	millis := func(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }
	full := rule.Limit()
	return wire.Reply{
		Allowed:      results[0].Allowed,
		Key:          r.Key,
		Limit:        full.Burst,
		Remaining:    level.Remaining,
		RetryAfterMS: millis(level.RetryAfter),
		ResetAfterMS: millis(level.ResetAfter),
		WindowMS:     millis(full.Interval * time.Duration(full.Burst) / time.Duration(full.Rate)),
		LimitName:    full.Name,
		Source:       results[0].Source.String(),
		Degraded:     !results[0].Source.Shared(),
	}
}

// direct is the service as a Checker, without NATS in between.
type direct struct{ *service }

func (d direct) one(ctx context.Context, verb wire.Verb, key string, opts []client.CheckOption) (client.Result, error) {
	if err := ctx.Err(); err != nil {
		return client.Result{}, err
	}
	r := wire.Request{Key: key, Cost: 1}
	for _, opt := range opts {
		if err := opt(&r); err != nil {
			return client.Result{}, err
		}
	}
	reply := d.decide(ctx, verb, &r)
	if reply.Err != nil {
		return client.Result{Key: key}, fmt.Errorf("direct: %w", &client.Error{Code: reply.Err.Code, Message: reply.Err.Message})
	}
	return client.Result{
		Allowed:    reply.Allowed,
		Key:        reply.Key,
		Limit:      reply.Limit,
		Remaining:  reply.Remaining,
		RetryAfter: time.Duration(reply.RetryAfterMS) * time.Millisecond,
		ResetAfter: time.Duration(reply.ResetAfterMS) * time.Millisecond,
		Window:     time.Duration(reply.WindowMS) * time.Millisecond,
		LimitName:  reply.LimitName,
		Source:     reply.Source,
		Degraded:   reply.Degraded,
	}, nil
}

func (d direct) Check(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error) {
	return d.one(ctx, wire.VerbCheck, key, opts)
}

func (d direct) Peek(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error) {
	return d.one(ctx, wire.VerbPeek, key, opts)
}

func (d direct) Reset(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error) {
	return d.one(ctx, wire.VerbReset, key, opts)
}

func (d direct) Refund(ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error) {
	return d.one(ctx, wire.VerbRefund, key, opts)
}

func (d direct) CheckEach(ctx context.Context, items []client.Item) (client.Outcomes, error) {
	outcomes := make(client.Outcomes, len(items))
	for i, item := range items {
		outcomes[i].Result, outcomes[i].Err = d.one(ctx, wire.VerbCheck, item.Key, item.Options)
	}
	return outcomes, nil
}

func (d direct) CheckAll(context.Context, []client.Item) (client.Decision, error) {
	return client.Decision{}, errors.New("direct cannot take several keys together")
}

// startNATS starts a NATS server in this process and returns what connects to
// it. It needs no network, so it also runs in the fake time of
// testing/synctest.
func startNATS(t *testing.T) func() *nats.Conn {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not become ready")
	}
	return func() *nats.Conn {
		nc, err := nats.Connect("", append(client.ConnectOptions(), nats.InProcessServer(srv))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

// alone returns a client on a NATS server that has no workers.
func alone(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(startNATS(t)())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// overNATS puts the service behind a NATS server and returns a client of it.
func overNATS(t *testing.T, s *service) *client.Client {
	t.Helper()
	connect := startNATS(t)
	worker := connect()
	for _, verb := range []wire.Verb{wire.VerbCheck, wire.VerbPeek, wire.VerbReset, wire.VerbRefund} {
		answer := func(msg *nats.Msg) {
			r, err := wire.DecodeRequest(msg.Data)
			if err != nil {
				t.Errorf("the bridge let a bad request pass: %s", err)
				return
			}
			if len(r.Checks) == 0 {
				r.Key = wire.KeyFromSubject(verb, msg.Subject)
				reply := s.decide(context.Background(), verb, &r)
				if err := msg.Respond(wire.AppendReply(nil, &reply)); err != nil {
					t.Error(err)
				}
				return
			}
			replies := wire.Replies{Allowed: true}
			for i := range r.Checks {
				reply := s.decide(context.Background(), verb, &r.Checks[i])
				replies.Results = append(replies.Results, reply)
				replies.Allowed = replies.Allowed && reply.Allowed
			}
			if err := msg.Respond(wire.AppendReplies(nil, &replies)); err != nil {
				t.Error(err)
			}
		}
		for _, subject := range []string{wire.Subject(verb, ""), wire.Subject(verb, ">")} {
			if _, err := worker.QueueSubscribe(subject, wire.QueueGroup, answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Not Flush: it takes its timers from a pool of nats.go, and a timer of one
	// bubble of synctest must not get into another.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := worker.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(connect())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// do sends one request to the handler.
func do(h http.Handler, method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// doContext gets target with a context.
func doContext(ctx context.Context, h http.Handler, target string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", target, nil))
	return w.Result()
}

// answer is what the bodies of this package can hold.
type answer struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail"`
	Violated []string `json:"violated-policies"`

	Allowed    *bool    `json:"allowed"`
	Key        string   `json:"key"`
	Limit      int64    `json:"limit"`
	Remaining  int64    `json:"remaining"`
	RetryMS    int64    `json:"retry_after_ms"`
	ResetMS    int64    `json:"reset_after_ms"`
	WindowMS   int64    `json:"window_ms"`
	LimitName  string   `json:"limit_name"`
	Source     string   `json:"source"`
	Degraded   bool     `json:"degraded"`
	Results    []answer `json:"results"`
	ErrorValue *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// read decodes a body and fails on anything that is not in answer.
func read(t *testing.T, resp *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	var a answer
	if err := d.Decode(&a); err != nil {
		t.Fatalf("body %q: %s", body, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("body %q goes on after the object", body)
	}
	return a
}

// wantError checks that the response is an error of that status and code
// which says something.
func wantError(t *testing.T, resp *http.Response, status int, code string) {
	t.Helper()
	a := read(t, resp)
	switch {
	case resp.StatusCode != status:
		t.Errorf("status %d, want %d (%+v)", resp.StatusCode, status, a.ErrorValue)
	case a.ErrorValue == nil:
		t.Errorf("no error in the body")
	case a.ErrorValue.Code != code:
		t.Errorf("code %q (%s), want %q", a.ErrorValue.Code, a.ErrorValue.Message, code)
	case len(a.ErrorValue.Message) < 20:
		t.Errorf("the message %q is not a sentence", a.ErrorValue.Message)
	case a.Allowed != nil:
		t.Errorf("an error that is also a decision")
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
}

// listen serves the handler on a loopback port until the test ends.
func listen(t *testing.T, h http.Handler, o httpbridge.ServerOptions) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpbridge.Serve(ctx, l, h, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %s", err)
		}
	})
	return l.Addr().String()
}
