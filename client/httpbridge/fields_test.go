package httpbridge_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
)

// canned answers every check with the same result.
type canned struct {
	httpbridge.Checker
	result   client.Result
	outcomes client.Outcomes
	err      error
}

func (c canned) Check(context.Context, string, ...client.CheckOption) (client.Result, error) {
	return c.result, c.err
}

func (c canned) CheckAll(context.Context, []client.Item) (client.Decision, error) {
	d := client.Decision{Allowed: c.outcomes.Allowed()}
	for _, o := range c.outcomes {
		d.RetryAfter = max(d.RetryAfter, o.RetryAfter)
		d.Results = append(d.Results, o.Result)
	}
	return d, c.err
}

func (c canned) CheckEach(context.Context, []client.Item) (client.Outcomes, error) {
	return c.outcomes, c.err
}

func TestFields(t *testing.T) {
	type want struct {
		status                         int
		retryAfter, limit, remaining   string
		reset, degraded, policy, quota string
		name                           string
		q, w, r, t                     int64
	}
	tests := []struct {
		name   string
		result client.Result
		want   want
	}{
		{
			"half full",
			client.Result{Allowed: true, Limit: 100, Remaining: 50, ResetAfter: 5 * time.Second, Window: 10 * time.Second, LimitName: "default", Source: "redis"},
			want{200, "", "100", "50", "5", "", `"default";q=100;w=10`, `"default";r=50;t=5`, "default", 100, 10, 50, 5},
		},
		{
			"full",
			client.Result{Allowed: true, Limit: 100, Remaining: 100, Window: 10 * time.Second, LimitName: "default", Source: "redis"},
			want{200, "", "100", "100", "0", "", `"default";q=100;w=10`, `"default";r=100;t=1`, "default", 100, 10, 100, 1},
		},
		{
			"everything rounds up",
			client.Result{Allowed: true, Limit: 3, Remaining: 1, ResetAfter: 2001 * time.Millisecond, Window: 9001 * time.Millisecond, LimitName: "burst", Source: "redis"},
			want{200, "", "3", "1", "3", "", `"burst";q=3;w=10`, `"burst";r=1;t=3`, "burst", 3, 10, 1, 3},
		},
		{
			"a window under a second",
			client.Result{Allowed: true, Limit: 5, Remaining: 4, ResetAfter: time.Millisecond, Window: 5 * time.Millisecond, LimitName: "x", Source: "redis"},
			want{200, "", "5", "4", "1", "", `"x";q=5;w=1`, `"x";r=4;t=1`, "x", 5, 1, 4, 1},
		},
		{
			"no window",
			client.Result{Allowed: true, Limit: 5, Remaining: 4, LimitName: "x", Source: "redis"},
			want{200, "", "5", "4", "0", "", `"x";q=5;w=1`, `"x";r=4;t=1`, "x", 5, 1, 4, 1},
		},
		{
			"denied for a millisecond",
			client.Result{Limit: 5, RetryAfter: time.Millisecond, ResetAfter: 5 * time.Second, Window: 5 * time.Second, LimitName: "x", Source: "redis"},
			want{429, "1", "5", "0", "5", "", `"x";q=5;w=5`, `"x";r=0;t=1`, "x", 5, 5, 0, 1},
		},
		{
			"denied for a day and a microsecond, from memory",
			client.Result{Limit: 5, Remaining: 2, RetryAfter: 24*time.Hour + time.Microsecond, ResetAfter: 48 * time.Hour, Window: 48 * time.Hour, LimitName: "x", Source: "memory", Degraded: true},
			want{429, "86401", "5", "2", "172800", "true", `"x";q=5;w=172800`, `"x";r=2;t=86401`, "x", 5, 172800, 2, 86401},
		},
		{
			"a name no limit should have",
			client.Result{Allowed: true, Limit: 5, Remaining: 5, Window: time.Second, LimitName: "a\"b\\c\r\nX-Evil: 1\xc3\xa9", Source: "redis"},
			want{200, "", "5", "5", "0", "", `"a\"b\\c??X-Evil: 1??";q=5;w=1`, `"a\"b\\c??X-Evil: 1??";r=5;t=1`, `a"b\c??X-Evil: 1??`, 5, 1, 5, 1},
		},
		{
			"no name",
			client.Result{Allowed: true, Limit: 5, Remaining: 5, Window: time.Second, Source: "redis"},
			want{200, "", "5", "5", "0", "", `"default";q=5;w=1`, `"default";r=5;t=1`, "default", 5, 1, 5, 1},
		},
		{
			"more than a structured field can hold",
			client.Result{Allowed: true, Limit: 1 << 53, Remaining: 1 << 53, ResetAfter: 1<<63 - 1, Window: 1<<63 - 1, LimitName: "x", Source: "redis"},
			want{200, "", "9007199254740992", "9007199254740992", "9223372037", "", `"x";q=999999999999999;w=9223372037`, `"x";r=999999999999999;t=9223372037`, "x", 999999999999999, 9223372037, 999999999999999, 9223372037},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := do(httpbridge.New(canned{result: tt.result}, httpbridge.Options{}), "GET", "/v1/check/a", "")
			h := resp.Header
			got := want{
				status: resp.StatusCode, retryAfter: h.Get("Retry-After"),
				limit: h.Get("X-RateLimit-Limit"), remaining: h.Get("X-RateLimit-Remaining"), reset: h.Get("X-RateLimit-Reset"),
				degraded: h.Get("X-RateLimit-Degraded"), policy: h.Get("RateLimit-Policy"), quota: h.Get("RateLimit"),
			}
			var name string
			name, got.q, got.w = parseField(t, h, "RateLimit-Policy", "q", "w")
			got.name, got.r, got.t = parseField(t, h, "RateLimit", "r", "t")
			if got != tt.want {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
			if name != got.name {
				t.Errorf("RateLimit-Policy is about %q and RateLimit about %q", name, got.name)
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Evil") != "" {
				t.Errorf("headers %v", h)
			}
		})
	}
}

// parseField reads a list of one item with two integer parameters, the way a
// caller of the draft would.
func parseField(t *testing.T, h http.Header, field, first, second string) (name string, a, b int64) {
	t.Helper()
	list, err := httpsfv.UnmarshalList(h.Values(field))
	if err != nil {
		t.Fatalf("%s: %s", field, err)
	}
	if len(list) != 1 {
		t.Fatalf("%s has %d items", field, len(list))
	}
	item, ok := list[0].(httpsfv.Item)
	if !ok {
		t.Fatalf("%s: %T", field, list[0])
	}
	name, ok = item.Value.(string)
	if !ok {
		t.Fatalf("%s: %T", field, item.Value)
	}
	if names := item.Params.Names(); len(names) != 2 || names[0] != first || names[1] != second {
		t.Fatalf("%s has parameters %q", field, names)
	}
	param := func(name string) int64 {
		v, _ := item.Params.Get(name)
		n, ok := v.(int64)
		if !ok {
			t.Fatalf("%s: %s is a %T", field, name, v)
		}
		return n
	}
	return name, param(first), param(second)
}

// TestNoBucket is an answer that was given without looking into a bucket.
func TestNoBucket(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		resp := do(httpbridge.New(canned{result: client.Result{Allowed: allowed, Key: "a", Source: "policy", Degraded: true}}, httpbridge.Options{}), "GET", "/v1/check/a", "")
		for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"} {
			if v := resp.Header.Get(name); v != "" {
				t.Errorf("allowed %t: %s: %s", allowed, name, v)
			}
		}
		if got, want := resp.Header.Get("Retry-After") == "1", !allowed; got != want {
			t.Errorf("allowed %t: Retry-After %q", allowed, resp.Header.Get("Retry-After"))
		}
		if resp.Header.Get("X-RateLimit-Degraded") != "true" {
			t.Errorf("allowed %t: not degraded", allowed)
		}
	}
}

// TestFieldsOfSeveralLimits lists every limit, and names those that deny.
func TestFieldsOfSeveralLimits(t *testing.T) {
	denied := client.Result{
		Key: "a", Limit: 10, RetryAfter: 100 * time.Millisecond, ResetAfter: time.Second, Window: time.Second, Policy: "free", LimitName: "second", Source: "redis",
		Limits: []client.LimitStatus{
			{Name: "second", Limit: 10, RetryAfter: 100 * time.Millisecond, ResetAfter: time.Second, Window: time.Second},
			{Name: "day", Limit: 500, Remaining: 300, ResetAfter: time.Hour, Window: 24 * time.Hour},
		},
	}
	b := httpbridge.New(canned{result: denied, outcomes: client.Outcomes{{Result: denied}, {Result: client.Result{Allowed: true, Key: "b"}}}}, httpbridge.Options{})
	resp := do(b, "POST", "/check", `{"key":"a"}`)
	body, _ := io.ReadAll(resp.Body)
	for name, want := range map[string]string{
		"RateLimit-Policy":      `"second";q=10;w=1, "day";q=500;w=86400`,
		"RateLimit":             `"second";r=0;t=1, "day";r=300;t=3600`,
		"X-RateLimit-Limit":     "10",
		"X-RateLimit-Remaining": "0",
		"Retry-After":           "1",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		if _, err := httpsfv.UnmarshalList([]string{resp.Header.Get(name)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if want := `"violated-policies":["second"]`; resp.StatusCode != 429 || !strings.Contains(string(body), want) || !strings.Contains(string(body), `"limits":[{"name":"second",`) {
		t.Errorf("status %d, body %s, want %s", resp.StatusCode, body, want)
	}
	resp = do(b, "POST", "/check", `{"mode":"all","checks":[{"key":"a"},{"key":"b"}]}`)
	body, _ = io.ReadAll(resp.Body)
	if want := `"allowed":false,"retry_after_ms":100,"results":[{"allowed":false,"key":"a",`; resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), want) {
		t.Errorf("status %d, Retry-After %q, body %s, want %s", resp.StatusCode, resp.Header.Get("Retry-After"), body, want)
	}
	// A policy that denies has no limit to speak of.
	resp = do(httpbridge.New(canned{result: client.Result{Key: "a", Policy: "blocked", Source: "policy"}}, httpbridge.Options{}), "POST", "/check", `{"key":"a"}`)
	body, _ = io.ReadAll(resp.Body)
	if resp.StatusCode != 429 || resp.Header.Get("RateLimit") != "" || !strings.Contains(string(body), `"violated-policies":["blocked"]`) || !strings.Contains(string(body), `"detail":"a is denied"`) {
		t.Errorf("of a blocked key: status %d, header %v, body %s", resp.StatusCode, resp.Header, body)
	}
}
