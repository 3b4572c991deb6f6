package main

import (
	"context"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// cached starts three workers on one Redis, with caches.
func cached(t *testing.T, environ ...string) (url string, workers []*Daemon) {
	t.Helper()
	redis := redistest.Start(t)
	url = startNATS(t)
	for range 3 {
		workers = append(workers, start(t, roleWorker, append([]string{"NATS_URL=" + url, "REDIS_URL=" + redis.URL()}, environ...)...))
	}
	return url, workers
}

// TestHotKey has callers ask three workers for ten times what a key may have
// and more: Redis is asked a fraction of it, and grants exactly the limit.
func TestHotKey(t *testing.T) {
	const rate, burst = 50, 20
	url, workers := cached(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var c tally
	begin := time.Now()
	hammer(ctx, t, url, 20, 2*time.Millisecond, &c, client.WithRate(rate, time.Second), client.WithBurst(burst))
	most := burst + rate*time.Since(begin).Seconds()
	var hits int64
	for _, d := range workers {
		hits += int64(d.denials.Stats().Hits)
	}
	t.Logf("%s of at most %.1f; %d answered by the caches", &c, most, hits)
	if c.failed.Load() > 0 || c.degraded.Load() > 0 {
		t.Errorf("failed or degraded: %s", &c)
	}
	if got := float64(c.admitted.Load()); got > most || got < 0.98*most-1 {
		t.Errorf("admitted %.0f, want between %.1f and %.1f", got, 0.98*most-1, most)
	}
	if c.checks.Load() < int64(10*most) {
		t.Errorf("%d checks are not ten times the limit, so this says little", c.checks.Load())
	}
	if hits < c.checks.Load()/2 || hits > c.checks.Load()-c.admitted.Load() {
		t.Errorf("%d of %d checks were answered by the caches", hits, c.checks.Load())
	}
}

// TestResetIsHeard: what one worker resets or refunds no worker goes on denying.
func TestResetIsHeard(t *testing.T) {
	url, workers := cached(t, "RATELIMIT_DEFAULT_LIMIT=100/h")
	c := dial(t, url)
	check := limiter.Check{Demands: []limiter.Demand{{Key: "hot", Rule: workers[0].cfg.DefaultLimit.rule, Cost: 100}}}
	knows := func(d *Daemon) bool { return d.denials.Known(time.Now(), &check, new(limiter.Result)) }
	for name, undo := range map[string]func() error{
		"reset":  func() error { _, err := c.Reset(t.Context(), "hot"); return err },
		"refund": func() error { _, err := c.Refund(t.Context(), "hot", client.WithCost(100)); return err },
	} {
		eventually(t, "all workers know of a denial", 10*time.Second, func() bool {
			if _, err := c.Check(t.Context(), "hot", client.WithCost(100)); err != nil {
				t.Fatal(err)
			}
			return knows(workers[0]) && knows(workers[1]) && knows(workers[2])
		})
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		eventually(t, "all workers have heard of the "+name, 900*time.Millisecond, func() bool {
			return !knows(workers[0]) && !knows(workers[1]) && !knows(workers[2])
		})
		t.Logf("%s: all workers go by it %s after the answer", name, time.Since(answered))
		if res, err := c.Check(t.Context(), "hot", client.WithCost(100)); err != nil || !res.Allowed || res.Source != "redis" {
			t.Errorf("after the %s: %+v, %v; want allowed by Redis", name, res, err)
		}
	}
}

// TestNoDenyCache: without it every check is put to Redis.
func TestNoDenyCache(t *testing.T) {
	url, workers := cached(t, "RATELIMIT_DENY_CACHE=false")
	c := dial(t, url)
	for range 50 {
		res, err := c.Check(t.Context(), "hot", client.WithRate(1, time.Hour))
		if err != nil || res.Source != "redis" {
			t.Fatalf("%+v, %v; want an answer of Redis", res, err)
		}
	}
	for _, d := range workers {
		if d.denials != nil {
			t.Error("there is a cache")
		}
	}
}
