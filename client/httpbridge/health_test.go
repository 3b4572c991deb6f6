package httpbridge_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/client/httpbridge"
)

func TestHealth(t *testing.T) {
	up := httpbridge.ServiceHealth{Status: httpbridge.Healthy, Latency: 0.41}
	tests := []struct {
		name          string
		health        httpbridge.Health
		status, ready int
		document      string
		readyText     string
	}{
		{
			"healthy",
			httpbridge.Health{InstanceID: "node-1", Services: map[string]httpbridge.ServiceHealth{"redis": up, "nats": up}},
			200, 200,
			`{"status":"healthy","timestamp":"2000-01-01T00:01:30Z","uptime":90,"instanceId":"node-1","services":{"nats":{"status":"healthy","latency":0.41},"redis":{"status":"healthy","latency":0.41}}}`,
			"ready\n",
		},
		{
			"without Redis",
			httpbridge.Health{InstanceID: "node-1", Services: map[string]httpbridge.ServiceHealth{
				"redis": {Status: httpbridge.Unhealthy, Message: "no answer; workers answer from memory, so limits hold per worker"}, "nats": up,
			}},
			200, 200,
			`{"status":"degraded","timestamp":"2000-01-01T00:01:30Z","uptime":90,"instanceId":"node-1","services":{"nats":{"status":"healthy","latency":0.41},"redis":{"status":"unhealthy","message":"no answer; workers answer from memory, so limits hold per worker"}}}`,
			"ready\nredis is unhealthy: no answer; workers answer from memory, so limits hold per worker\n",
		},
		{
			"without NATS",
			httpbridge.Health{InstanceID: "node-1", Services: map[string]httpbridge.ServiceHealth{"redis": up, "nats": {Status: httpbridge.Unhealthy}}},
			503, 503,
			`{"status":"unhealthy","timestamp":"2000-01-01T00:01:30Z","uptime":90,"instanceId":"node-1","services":{"nats":{"status":"unhealthy"},"redis":{"status":"healthy","latency":0.41}}}`,
			"not ready\nnats is unhealthy\n",
		},
		{
			"what the caller says counts",
			httpbridge.Health{Status: httpbridge.Unhealthy, Timestamp: time.Date(2026, 11, 21, 8, 0, 0, 0, time.FixedZone("", 3600)), Uptime: 7, Services: map[string]httpbridge.ServiceHealth{"nats": up}},
			503, 503,
			`{"status":"unhealthy","timestamp":"2026-11-21T07:00:00Z","uptime":7,"instanceId":"","services":{"nats":{"status":"healthy","latency":0.41}}}`,
			"not ready\n",
		},
		{
			"nothing known",
			httpbridge.Health{},
			200, 200,
			`{"status":"healthy","timestamp":"2000-01-01T00:01:30Z","uptime":90,"instanceId":"","services":{}}`,
			"ready\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := httpbridge.New(direct{newService()}, httpbridge.Options{Health: func(context.Context) httpbridge.Health { return tt.health }})
				time.Sleep(90 * time.Second)
				for _, h := range []http.Handler{b, b.Health()} {
					check := func(path string, status int, contentType, want string) {
						t.Helper()
						resp := do(h, "GET", path, "")
						body, err := io.ReadAll(resp.Body)
						if err != nil {
							t.Fatal(err)
						}
						if resp.StatusCode != status || string(body) != want {
							t.Errorf("%s: %d %s\nwant %d %s", path, resp.StatusCode, body, status, want)
						}
						if got := resp.Header.Get("Content-Type"); got != contentType {
							t.Errorf("%s: Content-Type %q, want %q", path, got, contentType)
						}
						if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
							t.Errorf("%s: headers %v", path, resp.Header)
						}
						if got := do(h, "HEAD", path, "").StatusCode; got != status {
							t.Errorf("HEAD %s: %d, want %d", path, got, status)
						}
						wantError(t, do(h, "POST", path, ""), 405, "method_not_allowed")
					}
					check("/health", tt.status, "application/json", tt.document+"\n")
					check("/healthz", 200, "text/plain; charset=utf-8", "ok\n")
					check("/readyz", tt.ready, "text/plain; charset=utf-8", tt.readyText)
				}
				wantError(t, do(b.Health(), "GET", "/other", ""), 404, "not_found")
			})
		})
	}
}

// TestHealthIsGatheredOnce asks from many sides at once: what is asked about
// must not feel it, and a caller that leaves must not spoil it for the others.
func TestHealthIsGatheredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gathered := 0
		h := httpbridge.NewHealthHandler(func(ctx context.Context) httpbridge.Health {
			gathered++
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 2*time.Second {
				t.Errorf("deadline %v %t, want one in 2s", deadline, ok)
			}
			time.Sleep(100 * time.Millisecond)
			if ctx.Err() != nil {
				return httpbridge.Health{Status: httpbridge.Unhealthy}
			}
			return httpbridge.Health{}
		})
		impatient, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() { doContext(impatient, h, "/health") })
		synctest.Wait() // it is the one who gathers
		for range 50 {
			wg.Go(func() { doContext(impatient, h, "/health") })
			wg.Go(func() {
				if resp := doContext(t.Context(), h, "/health"); resp.StatusCode != 200 {
					t.Errorf("status %d, want 200", resp.StatusCode)
				}
			})
		}
		wg.Wait()
		if gathered != 1 {
			t.Errorf("gathered %d times, want once", gathered)
		}
		time.Sleep(time.Second)
		do(h, "GET", "/readyz", "")
		if gathered != 2 {
			t.Errorf("gathered %d times after a second, want twice", gathered)
		}
	})
}

func TestOverall(t *testing.T) {
	s := func(status httpbridge.Status) httpbridge.ServiceHealth {
		return httpbridge.ServiceHealth{Status: status}
	}
	tests := []struct {
		redis, nats, want httpbridge.Status
	}{
		{httpbridge.Healthy, httpbridge.Healthy, httpbridge.Healthy},
		{httpbridge.Degraded, httpbridge.Healthy, httpbridge.Degraded},
		{httpbridge.Unhealthy, httpbridge.Healthy, httpbridge.Degraded},
		{httpbridge.Healthy, httpbridge.Degraded, httpbridge.Degraded},
		{httpbridge.Healthy, httpbridge.Unhealthy, httpbridge.Unhealthy},
		{httpbridge.Unhealthy, httpbridge.Unhealthy, httpbridge.Unhealthy},
	}
	for _, tt := range tests {
		got := httpbridge.Overall(map[string]httpbridge.ServiceHealth{"redis": s(tt.redis), "nats": s(tt.nats)}, "nats")
		if got != tt.want {
			t.Errorf("redis %s, nats %s: %s, want %s", tt.redis, tt.nats, got, tt.want)
		}
	}
}
