package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// tally is what came of many checks.
type tally struct {
	checks, admitted, degraded, failed atomic.Int64
	firstError                         atomic.Pointer[error]

	// onAdmitted, if set, hears of each check that was admitted.
	onAdmitted func(client.Result)
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d checks, %d admitted, %d degraded, %d failed", c.checks.Load(), c.admitted.Load(), c.degraded.Load(), c.failed.Load())
	if err := c.firstError.Load(); err != nil {
		s += fmt.Sprintf(", first: %v", *err)
	}
	return s
}

// hammer has callers ask for one key again and again until ctx ends, and
// returns when the last answer is there. Pause is the time between a caller's
// questions.
func hammer(ctx context.Context, t *testing.T, natsURL string, callers int, pause time.Duration, c *tally, opts ...client.CheckOption) {
	cl := dial(t, natsURL, client.WithTimeout(30*time.Second)) // however busy the machine is
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				res, err := cl.Check(context.Background(), "hot", opts...)
				c.checks.Add(1)
				switch {
				case err != nil:
					c.failed.Add(1)
					c.firstError.CompareAndSwap(nil, &err)
				case res.Allowed:
					c.admitted.Add(1)
					if c.onAdmitted != nil {
						c.onAdmitted(res)
					}
				}
				if res.Degraded {
					c.degraded.Add(1)
				}
				if pause > 0 {
					time.Sleep(pause)
				}
			}
		})
	}
	wg.Wait()
}

// threeWorkers starts three workers on one Redis and returns the NATS URL.
func threeWorkers(t *testing.T, redisURL string) string {
	t.Helper()
	url := startNATS(t)
	for range 3 {
		start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+redisURL)
	}
	return url
}

// TestExactUnderLoad has fifty callers ask three workers for one key: together
// they admit the limit, not a check more, and hardly one less.
func TestExactUnderLoad(t *testing.T) {
	const rate, burst = 100, 100
	url := threeWorkers(t, redistest.Start(t).URL())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var c tally
	stalled := stopwatch(t)
	begin := time.Now()
	hammer(ctx, t, url, 50, 0, &c, client.WithRate(rate, time.Second), client.WithBurst(burst))
	most := burst + rate*time.Since(begin).Seconds()
	least := 0.99*most - rate*stalled().Seconds() // the machine may have been busy at the end
	t.Logf("%s of at most %.1f in %s", &c, most, time.Since(begin))
	if c.failed.Load() > 0 || c.degraded.Load() > 0 {
		t.Errorf("failed or degraded: %s", &c)
	}
	if got := float64(c.admitted.Load()); got > most || got < least {
		t.Errorf("admitted %.0f, want between %.1f and %.1f", got, least, most)
	}
}

// TestRedisDiesAndComesBack kills Redis under load, and starts it again: every
// check is answered, from memory in between, and from Redis in the end.
func TestRedisDiesAndComesBack(t *testing.T) {
	server := redistest.Start(t)
	url := threeWorkers(t, server.URL())
	c := dial(t, url)
	source := func() string {
		res, err := c.Check(t.Context(), "probe", client.WithRate(1000, time.Second))
		if err != nil {
			t.Fatalf("a check was not answered: %v", err)
		}
		if res.Degraded != (res.Source != "redis") {
			t.Fatalf("source %q with degraded %t", res.Source, res.Degraded)
		}
		return res.Source
	}
	if s := source(); s != "redis" {
		t.Fatalf("before: decided in %s", s)
	}

	ctx, stop := context.WithCancel(t.Context())
	var load tally
	done := make(chan struct{})
	go func() {
		defer close(done)
		hammer(ctx, t, url, 50, time.Millisecond, &load, client.WithRate(100, time.Second))
	}()
	time.Sleep(time.Second)
	server.Kill()
	eventually(t, "memory answers", 5*time.Second, func() bool { return source() == "memory" })
	time.Sleep(time.Second)
	server.Restart()
	restarted := time.Now()
	inRow := 0 // answers from Redis, over all workers
	eventually(t, "Redis answers again", 10*time.Second, func() bool {
		if source() == "redis" {
			inRow++
		} else {
			inRow = 0
		}
		return inRow == 30
	})
	t.Logf("30 answers in a row from Redis %s after its restart", time.Since(restarted))
	time.Sleep(time.Second)
	stop()
	<-done
	t.Logf("%s", &load)
	if load.failed.Load() > 0 {
		t.Errorf("%s", &load)
	}
	if load.degraded.Load() == 0 {
		t.Error("no answer was degraded, so the test has tested nothing")
	}
}

// TestRollingRestart replaces two workers, ten times each, under load. They
// are processes and get SIGTERM, as a deployment does it: no check fails.
func TestRollingRestart(t *testing.T) {
	url := startNATS(t)
	environ := []string{"NATS_URL=" + url, "REDIS_URL=" + redistest.Start(t).URL(), "RATELIMIT_ADMIN_ADDR=127.0.0.1:0", patience}
	newWorker := func() *process {
		p := spawn(t, environ, binary(t, "ratelimitd"), "worker")
		p.waitFor(t, "ready")
		return p
	}
	workers := []*process{newWorker(), newWorker()}

	ctx, stop := context.WithCancel(t.Context())
	var load tally
	done := make(chan struct{})
	go func() {
		defer close(done)
		hammer(ctx, t, url, 16, 0, &load, client.WithRate(1_000_000, time.Second))
	}()
	for i := range 20 {
		next := newWorker() // first the new one, then the old one goes
		workers[i%2].terminate(t)
		workers[i%2] = next
	}
	stop()
	<-done
	t.Logf("20 replacements: %s", &load)
	if load.failed.Load() > 0 || load.checks.Load() < 1000 {
		t.Errorf("%s, want none failed of many", &load)
	}
	for _, w := range workers {
		w.terminate(t)
	}
}

// TestStartsWithoutRedis starts a worker before its Redis.
func TestStartsWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	url := startNATS(t)
	start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+server.URL())
	c := dial(t, url)
	res, err := c.Check(t.Context(), "k", client.WithRate(5, time.Second))
	if err != nil || res.Source != "memory" || !res.Degraded {
		t.Fatalf("without Redis: %+v, %v; want an answer from memory", res, err)
	}
	server.Restart()
	eventually(t, "Redis answers", 5*time.Second, func() bool {
		res, err := c.Check(t.Context(), "k2", client.WithRate(1000, time.Second))
		return err == nil && res.Source == "redis"
	})
}

// TestStartsWithoutNATS starts a worker before its NATS server.
func TestStartsWithoutNATS(t *testing.T) {
	probe := start(t, roleAll) // to learn a free port
	url := probe.nats.ClientURL()
	addr := url[len("nats://"):]
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+redistest.Start(t).URL())
	start(t, roleAll, "RATELIMIT_NATS_ADDR="+addr, "RATELIMIT_INLINE_LIMITS=never")
	c := dial(t, url)
	eventually(t, "the worker that waited answers", 10*time.Second, func() bool {
		res, err := c.Check(t.Context(), "k", client.WithRate(5, time.Second))
		if err != nil && !errors.Is(err, client.ErrInlineLimitRefused) {
			t.Fatal(err)
		}
		return err == nil && res.Source == "redis"
	})
}
