package httpbridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/client/wire"
)

// TestSemantics is the script that every front door must pass: a bucket with
// burst 5 and 1/s.
func TestSemantics(t *testing.T) {
	doors := map[string]func(*testing.T) httpbridge.Checker{
		"direct": func(*testing.T) httpbridge.Checker { return direct{newService()} },
		"nats":   func(t *testing.T) httpbridge.Checker { return overNATS(t, newService()) },
	}
	spellings := map[string]func(b *httpbridge.Bridge, cost int) *http.Response{
		"POST /check": func(b *httpbridge.Bridge, cost int) *http.Response {
			return do(b, "POST", "/check", fmt.Sprintf(`{"key":"user_123","rate":1,"interval":"1s","burst":5,"cost":%d}`, cost), "Content-Type", "application/json")
		},
		"POST /v1/check/{key}": func(b *httpbridge.Bridge, cost int) *http.Response {
			return do(b, "POST", "/v1/check/user_123", fmt.Sprintf(`{"rate":1,"interval":"1s","burst":5,"cost":%d}`, cost))
		},
		"GET /v1/check/{key}": func(b *httpbridge.Bridge, cost int) *http.Response {
			return do(b, "GET", fmt.Sprintf("/v1/check/user_123?rate=1&interval=1s&burst=5&cost=%d", cost), "")
		},
	}
	type step struct {
		at        time.Duration
		cost      int
		status    int
		remaining int64
		retry     int64 // ms
		reset     int64 // ms
		// Headers, in seconds.
		retryAfter, resetHeader, rateLimit string
	}
	script := []step{
		{at: 0, cost: 6, status: 422},
		{at: 0, cost: 1, status: 200, remaining: 4, reset: 1000, resetHeader: "1", rateLimit: `"default";r=4;t=1`},
		{at: 0, cost: 1, status: 200, remaining: 3, reset: 2000, resetHeader: "2", rateLimit: `"default";r=3;t=2`},
		{at: 0, cost: 1, status: 200, remaining: 2, reset: 3000, resetHeader: "3", rateLimit: `"default";r=2;t=3`},
		{at: 0, cost: 1, status: 200, remaining: 1, reset: 4000, resetHeader: "4", rateLimit: `"default";r=1;t=4`},
		{at: 0, cost: 1, status: 200, remaining: 0, reset: 5000, resetHeader: "5", rateLimit: `"default";r=0;t=5`},
		{at: 0, cost: 1, status: 429, remaining: 0, retry: 1000, reset: 5000, retryAfter: "1", resetHeader: "5", rateLimit: `"default";r=0;t=1`},
		{at: 3000 * time.Millisecond, cost: 1, status: 200, remaining: 2, reset: 3000, resetHeader: "3", rateLimit: `"default";r=2;t=3`},
		{at: 3100 * time.Millisecond, cost: 1, status: 200, remaining: 1, reset: 3900, resetHeader: "4", rateLimit: `"default";r=1;t=4`},
		{at: 3100 * time.Millisecond, cost: 0, status: 200, remaining: 1, reset: 3900, resetHeader: "4", rateLimit: `"default";r=1;t=4`},
		{at: 3100 * time.Millisecond, cost: 5, status: 429, remaining: 1, retry: 3900, reset: 3900, retryAfter: "4", resetHeader: "4", rateLimit: `"default";r=1;t=4`},
	}
	for door, checker := range doors {
		for spelling, send := range spellings {
			t.Run(door+" "+spelling, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := httpbridge.New(checker(t), httpbridge.Options{})
					start := time.Now()
					for i, s := range script {
						time.Sleep(time.Until(start.Add(s.at)))
						resp := send(b, s.cost)
						if s.status == 422 {
							wantError(t, resp, 422, "cost_exceeds_burst")
							if ra := resp.Header.Get("Retry-After"); ra != "" {
								t.Errorf("step %d: Retry-After %s for what can never be granted", i, ra)
							}
							continue
						}
						a, h := read(t, resp), resp.Header
						got := step{s.at, s.cost, resp.StatusCode, a.Remaining, a.RetryMS, a.ResetMS, h.Get("Retry-After"), h.Get("X-RateLimit-Reset"), h.Get("RateLimit")}
						if got != s {
							t.Errorf("step %d:\n got %+v\nwant %+v", i, got, s)
						}
						if a.Allowed == nil || *a.Allowed != (s.status == 200) {
							t.Errorf("step %d: allowed is not what the status %d says", i, s.status)
						}
						if h.Get("X-RateLimit-Limit") != "5" || h.Get("X-RateLimit-Remaining") != fmt.Sprint(s.remaining) || h.Get("RateLimit-Policy") != `"default";q=5;w=5` {
							t.Errorf("step %d: headers %v", i, h)
						}
						if a.Key != "user_123" || a.Limit != 5 || a.WindowMS != 5000 || a.LimitName != "default" {
							t.Errorf("step %d: body %+v", i, a)
						}
					}
				})
			})
		}
	}
}

// TestDenial looks at the body of a 429: a problem document that is also the
// answer.
func TestDenial(t *testing.T) {
	b := httpbridge.New(canned{result: client.Result{
		Key: "user_123", Limit: 5, RetryAfter: 200 * time.Millisecond, ResetAfter: time.Second, Window: time.Second, LimitName: "burst", Source: "redis",
	}}, httpbridge.Options{})
	resp := do(b, "POST", "/check", `{"key":"user_123","rate":5,"interval":"1s"}`)
	if got, want := resp.Header.Get("Content-Type"), "application/problem+json"; got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",` +
		`"title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,` +
		`"detail":"user_123 has 0 of 5 tokens left under limit burst, which is less than the check asks for; wait 200ms","violated-policies":["burst"],` +
		`"allowed":false,"key":"user_123","limit":5,"remaining":0,"retry_after_ms":200,"reset_after_ms":1000,"window_ms":1000,"limit_name":"burst","source":"redis","degraded":false}` + "\n"
	if string(body) != want {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
}

// TestOK looks at the body of a 200, byte for byte.
func TestOK(t *testing.T) {
	b := httpbridge.New(canned{result: client.Result{
		Allowed: true, Key: "user_123", Limit: 5, Remaining: 4, ResetAfter: 200 * time.Millisecond, Window: time.Second, Policy: "users", LimitName: "default", Source: "redis",
	}}, httpbridge.Options{})
	resp := do(b, "POST", "/check", `{"key":"user_123","rate":5,"interval":"1s"}`)
	if got, want := resp.Header.Get("Content-Type"), "application/json"; got != want {
		t.Errorf("Content-Type %q, want %q", got, want)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"allowed":true,"key":"user_123","limit":5,"remaining":4,"retry_after_ms":0,"reset_after_ms":200,"window_ms":1000,"policy":"users","limit_name":"default","source":"redis","degraded":false}` + "\n"
	if string(body) != want {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
}

func TestSeveralChecks(t *testing.T) {
	doors := map[string]httpbridge.Checker{
		"direct": direct{newService()},
		"nats":   overNATS(t, newService()),
	}
	for door, checker := range doors {
		t.Run(door, func(t *testing.T) {
			b := httpbridge.New(checker, httpbridge.Options{})
			const item = `{"key":"%s","rate":1,"interval":"1h"}`
			several := func(keys ...string) *http.Response {
				var checks []string
				for _, key := range keys {
					checks = append(checks, fmt.Sprintf(item, key))
				}
				return do(b, "POST", "/v1/check", `{"checks":[`+strings.Join(checks, ",")+`]}`)
			}

			resp := several("a", "b")
			a := read(t, resp)
			if resp.StatusCode != 200 || a.Allowed == nil || !*a.Allowed || len(a.Results) != 2 || a.Results[1].Key != "b" || a.Results[1].Remaining != 0 {
				t.Errorf("two granted: %d %+v", resp.StatusCode, a)
			}

			resp = several("c", "a")
			a = read(t, resp)
			if resp.StatusCode != 429 || a.Allowed == nil || *a.Allowed || len(a.Results) != 2 || !*a.Results[0].Allowed || *a.Results[1].Allowed {
				t.Errorf("one of two denied: %d %+v", resp.StatusCode, a)
			}
			if got := resp.Header.Get("Retry-After"); got != "3600" && got != "3599" {
				t.Errorf("Retry-After %q", got)
			}
			if a.Status != 429 || !slices.Equal(a.Violated, []string{"default"}) || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("no problem document: %+v", a)
			}
			if got := resp.Header.Get("X-RateLimit-Limit") + resp.Header.Get("RateLimit"); got != "" {
				t.Errorf("fields of one bucket: %q", got)
			}

			// One that cannot be decided: the other one was charged, and the
			// caller must learn both.
			resp = do(b, "POST", "/v1/check", `{"checks":[{"key":"d"},{"key":"e","rate":1,"interval":"1s","cost":2}]}`)
			a = read(t, resp)
			if resp.StatusCode != 422 || a.ErrorValue == nil || a.ErrorValue.Code != "cost_exceeds_burst" || len(a.Results) != 2 || !*a.Results[0].Allowed || a.Results[1].ErrorValue == nil {
				t.Errorf("one of two not decided: %d %+v", resp.StatusCode, a)
			}

			// A denial and an error: the denial is the answer.
			resp = do(b, "POST", "/v1/check", `{"checks":[{"key":"e","rate":1,"interval":"1s","cost":2},{"key":"a","rate":1,"interval":"1h"}]}`)
			if a = read(t, resp); resp.StatusCode != 429 || a.Results[0].ErrorValue == nil || *a.Results[1].Allowed {
				t.Errorf("an error and a denial: %d %+v", resp.StatusCode, a)
			}

			for _, path := range []string{"/v1/peek/a", "/v1/check/a"} {
				wantError(t, do(b, "POST", path, `{"checks":[{"key":"a"}]}`), map[bool]int{true: 405, false: 400}[path == "/v1/peek/a"], map[bool]string{true: "method_not_allowed", false: "invalid_request"}[path == "/v1/peek/a"])
			}
			wantError(t, do(b, "POST", "/check", `{"checks":[]}`), 400, "invalid_request")
			wantError(t, do(b, "POST", "/check", `{"key":"a","timeout_ms":5}`), 400, "invalid_request")
			wantError(t, do(b, "POST", "/check", `{"checks":[{"key":"a"},{"key":"b","timeout_ms":5}]}`), 400, "invalid_request")
			wantError(t, do(b, "POST", "/check", `{"checks":[{"rate":1,"interval":"1s"}]}`), 400, "invalid_request")
		})
	}
}

func TestAdmin(t *testing.T) {
	checker := overNATS(t, newService())
	closed := httpbridge.New(checker, httpbridge.Options{})
	open := httpbridge.New(checker, httpbridge.Options{Admin: true})
	const limit, query = `{"rate":5,"interval":"1h"}`, "?rate=5&interval=1h"

	remaining := func(resp *http.Response) int64 {
		t.Helper()
		a := read(t, resp)
		if resp.StatusCode != 200 {
			t.Errorf("status %d: %+v", resp.StatusCode, a.ErrorValue)
		}
		return a.Remaining
	}
	for want := int64(4); want >= 2; want-- {
		if got := remaining(do(closed, "POST", "/v1/check/a", limit)); got != want {
			t.Errorf("remaining %d, want %d", got, want)
		}
	}
	wantError(t, do(closed, "POST", "/v1/reset/a", limit), 403, "forbidden")
	wantError(t, do(closed, "POST", "/v1/refund/a", limit), 403, "forbidden")
	if got := remaining(do(closed, "GET", "/v1/peek/a"+query, "")); got != 2 {
		t.Errorf("after what was refused: remaining %d, want 2", got)
	}
	if got := remaining(do(open, "POST", "/v1/refund/a", `{"rate":5,"interval":"1h","cost":2}`)); got != 4 {
		t.Errorf("after a refund of 2: remaining %d, want 4", got)
	}
	if got := remaining(do(open, "POST", "/v1/reset/a", limit)); got != 5 {
		t.Errorf("after a reset: remaining %d, want 5", got)
	}
	wantError(t, do(open, "GET", "/v1/reset/a", ""), 405, "method_not_allowed")
	wantError(t, do(open, "POST", "/v1/peek/a", ""), 405, "method_not_allowed")
	wantError(t, do(open, "GET", "/v1/peek/a"+query+"&cost=3", ""), 400, "invalid_request")
	if resp := do(open, "HEAD", "/v1/peek/a"+query, ""); resp.StatusCode != 200 || resp.Header.Get("X-RateLimit-Remaining") != "5" {
		t.Errorf("HEAD: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestFailures is what callers see when there is no decision.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		code   string
		retry  string
	}{
		{"overloaded", &client.Error{Code: wire.CodeOverloaded, Message: "the worker has too much to do"}, 503, "overloaded", "1"},
		{"unavailable", fmt.Errorf("x: %w", &client.Error{Code: wire.CodeUnavailable, Message: "the worker could not decide"}), 503, "unavailable", "1"},
		{"late", &client.Error{Code: wire.CodeDeadlineExceeded, Message: "no answer within one second"}, 504, "deadline_exceeded", ""},
		{"no policy", &client.Error{Code: wire.CodeNoPolicy, Message: "no policy matches the key a"}, 404, "no_policy", ""},
		{"inline", &client.Error{Code: wire.CodeInlineLimitRefused, Message: "bring no limit of your own"}, 403, "inline_limit_refused", ""},
		{"a code from the future", &client.Error{Code: "new", Message: "something that is new in this world"}, 500, "new", ""},
		{"a bare deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), 504, "deadline_exceeded", ""},
		{"a secret", errors.New("nats://user:hunter2@10.0.0.1"), 503, "unavailable", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := httpbridge.New(canned{err: tt.err}, httpbridge.Options{})
			for _, body := range []string{`{"key":"a"}`, `{"checks":[{"key":"a"}]}`} {
				resp := do(b, "POST", "/check", body)
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text), "hunter2") {
					t.Errorf("%s tells a secret", text)
				}
				resp.Body = io.NopCloser(strings.NewReader(string(text)))
				wantError(t, resp, tt.status, tt.code)
				if got := resp.Header.Get("Retry-After"); got != tt.retry {
					t.Errorf("Retry-After %q, want %q", got, tt.retry)
				}
			}
		})
	}
}

// TestNoWorkers asks over a NATS server on which nobody listens.
func TestNoWorkers(t *testing.T) {
	c := alone(t)
	var log strings.Builder
	b := httpbridge.New(c, httpbridge.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		resp := do(b, "POST", "/check", `{"key":"a"}`)
		wantError(t, resp, 503, "unavailable")
		if got := resp.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After %q", got)
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("an outage of three requests made %d lines of log:\n%s", got, &log)
	}
}

// TestSilentWorker asks a worker that never answers.
func TestSilentWorker(t *testing.T) {
	nc := startNATS(t)()
	if _, err := nc.Subscribe("ratelimit.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b := httpbridge.New(c, httpbridge.Options{Timeout: 50 * time.Millisecond})
	wantError(t, do(b, "POST", "/check", `{"key":"a"}`), 504, "deadline_exceeded")
}

// TestOutageInLog has two outages: each is one line, and so is its end.
func TestOutageInLog(t *testing.T) {
	var log strings.Builder
	c := &canned{}
	b := httpbridge.New(c, httpbridge.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	down := &client.Error{Code: wire.CodeUnavailable, Message: "nobody is there to be asked"}
	refused := &client.Error{Code: wire.CodeNoPolicy, Message: "no policy matches the key a"}
	for _, c.err = range []error{nil, refused, down, down, refused, nil, nil, down, nil} {
		do(b, "POST", "/check", `{"key":"a"}`)
		do(b, "POST", "/check", `{"checks":[{"key":"a"}]}`)
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, "level=")
		level, _, _ := strings.Cut(line, " ")
		got = append(got, level)
	}
	if want := []string{"ERROR", "INFO", "ERROR", "INFO"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q:\n%s", got, want, &log)
	}
}

// TestBodyGrows mounts the bridge behind something that replaces the body by a
// longer one, as what unpacks bodies does.
func TestBodyGrows(t *testing.T) {
	r := httptest.NewRequest("POST", "/check", strings.NewReader(`{"key":"a"}`+strings.Repeat(" ", 64<<10)))
	r.ContentLength = 100
	w := httptest.NewRecorder()
	httpbridge.New(direct{newService()}, httpbridge.Options{}).ServeHTTP(w, r)
	wantError(t, w.Result(), 413, "request_too_large")
}

// TestOptions looks at what reaches the service.
func TestOptions(t *testing.T) {
	const inline = `"rate":5,"interval":"1500ms","burst":9,"cost":3,"algorithm":"token_bucket","policy":"gold"`
	want := wire.Request{Key: "a", Rate: 5, IntervalMicros: 1_500_000, Burst: 9, Cost: 3, CostGiven: true, Algorithm: "token_bucket", Policy: "gold"}
	for _, body := range []string{`{"key":"a",` + inline + `}`, `{"mode":"each","checks":[{"key":"a",` + inline + `}]}`} {
		s := newService()
		if resp := do(httpbridge.New(direct{s}, httpbridge.Options{}), "POST", "/check", body); resp.StatusCode != 200 {
			t.Errorf("%s: status %d", body, resp.StatusCode)
		}
		if got := s.requests(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s:\n got %+v\nwant %+v", body, got, want)
		}
	}
}

// blocking does not answer before it is told to, or its context ends.
type blocking struct {
	httpbridge.Checker
	asked   chan struct{}
	release chan struct{}
}

func (c blocking) Check(ctx context.Context, key string, _ ...client.CheckOption) (client.Result, error) {
	c.asked <- struct{}{}
	select {
	case <-c.release:
		return client.Result{Allowed: true, Key: key}, nil
	case <-ctx.Done():
		return client.Result{}, ctx.Err()
	}
}

func TestInFlight(t *testing.T) {
	c := blocking{asked: make(chan struct{}), release: make(chan struct{})}
	b := httpbridge.New(c, httpbridge.Options{MaxInFlight: 2, Timeout: time.Minute})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if resp := do(b, "GET", "/v1/check/a", ""); resp.StatusCode != 200 {
				t.Errorf("status %d, want 200", resp.StatusCode)
			}
		})
		<-c.asked
	}
	for range 3 {
		resp := do(b, "GET", "/v1/check/a", "")
		wantError(t, resp, 503, "overloaded")
		if got := resp.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After %q", got)
		}
	}
	if resp := do(b, "GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("/healthz under load: %d", resp.StatusCode)
	}
	close(c.release)
	wg.Wait()
	go func() { <-c.asked }()
	if resp := do(b, "GET", "/v1/check/a", ""); resp.StatusCode != 200 {
		t.Errorf("after the load: status %d, want 200", resp.StatusCode)
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := blocking{asked: make(chan struct{}, 1), release: make(chan struct{})}
		b := httpbridge.New(c, httpbridge.Options{Timeout: 300 * time.Millisecond})
		start := time.Now()
		wantError(t, do(b, "GET", "/v1/check/a", ""), 504, "deadline_exceeded")
		if got, want := time.Since(start), 300*time.Millisecond; got != want {
			t.Errorf("answered after %s, want %s", got, want)
		}
	})
}

// TestCallerLeaves counts a caller that hangs up.
func TestCallerLeaves(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := blocking{asked: make(chan struct{}), release: make(chan struct{})}
	b := httpbridge.New(c, httpbridge.Options{Registerer: reg, Timeout: time.Minute})
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		<-c.asked
		leave()
	}()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v1/check/a", nil))
	// One that closed its own side only must not take silence for a yes.
	wantError(t, w.Result(), 504, "deadline_exceeded")
	if got := samples(t, reg)[`ratelimit_http_requests_total{code="499",endpoint="check_key"}`]; got != 1 {
		t.Errorf("counted %v", got)
	}
}

// panicking is a Checker with a bug.
type panicking struct{ httpbridge.Checker }

func (panicking) Check(context.Context, string, ...client.CheckOption) (client.Result, error) {
	panic("a bug")
}

func TestPanic(t *testing.T) {
	var log strings.Builder
	b := httpbridge.New(panicking{}, httpbridge.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), MaxInFlight: 1})
	for range 2 {
		// The second one also shows that the place of the first is free again.
		wantError(t, do(b, "GET", "/v1/check/a", ""), 500, "internal")
	}
	if !strings.Contains(log.String(), "a bug") {
		t.Errorf("the log does not say why: %s", &log)
	}
}

func TestRequestID(t *testing.T) {
	b := httpbridge.New(direct{newService()}, httpbridge.Options{})
	for id, want := range map[string]bool{
		"4bf92f35-77b3.4da6_A":  true,
		strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false,
		"":                      false,
		"a b":                   false,
		"a\"b":                  false,
		"a\x1b[31m":             false,
		"a\nb":                  false,
		"<script>":              false,
		"\xc3\xa9":              false,
	} {
		for _, path := range []string{"/v1/check/a", "/nowhere", "/healthz"} {
			got := do(b, "GET", path, "", "X-Request-Id", id).Header.Values("X-Request-Id")
			if want && !slices.Equal(got, []string{id}) || !want && len(got) > 0 {
				t.Errorf("%s with %q: echoed %q", path, id, got)
			}
		}
	}
	if got := do(b, "GET", "/v1/check/a", "", "X-Request-Id", "a", "X-Request-Id", "b").Header.Values("X-Request-Id"); len(got) > 0 {
		t.Errorf("two ids: echoed %q", got)
	}
}

// TestMetrics asks with many keys, paths and methods: none of them may make a
// series of its own.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := httpbridge.New(direct{newService()}, httpbridge.Options{Registerer: reg})
	second := httpbridge.New(direct{newService()}, httpbridge.Options{Registerer: reg})
	for i := range 500 {
		do(b, "GET", fmt.Sprintf("/v1/check/user_%d", i), "")
		do(b, "GET", fmt.Sprintf("/nowhere/%d", i), "")
		do(b, fmt.Sprintf("M%d", i), "/check", "")
		do(second, "POST", "/check", fmt.Sprintf(`{"key":"user_%d"}`, i))
	}
	got := samples(t, reg)
	want := map[string]float64{
		`ratelimit_http_requests_total{code="200",endpoint="check_key"}`:      500,
		`ratelimit_http_requests_total{code="404",endpoint="other"}`:          500,
		`ratelimit_http_requests_total{code="405",endpoint="check"}`:          500,
		`ratelimit_http_requests_total{code="200",endpoint="check"}`:          500,
		`ratelimit_http_request_duration_seconds_count{endpoint="check_key"}`: 500,
		`ratelimit_http_request_duration_seconds_count{endpoint="other"}`:     500,
		`ratelimit_http_request_duration_seconds_count{endpoint="check"}`:     1000,
		`ratelimit_http_checks_in_flight{}`:                                   0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	var log strings.Builder
	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "ratelimit_http_requests_total", Help: "Something else."}))
	httpbridge.New(direct{newService()}, httpbridge.Options{Registerer: taken, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "ratelimit_http_requests_total") {
		t.Errorf("the log does not name the metric that cannot be exported: %s", &log)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// samples returns what reg exports, histograms as their counts.
func samples(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name, value := f.GetName(), m.GetCounter().GetValue()+m.GetGauge().GetValue()
			if h := m.GetHistogram(); h != nil {
				name, value = name+"_count", float64(h.GetSampleCount())
			}
			got[name+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return got
}
