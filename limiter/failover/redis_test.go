package failover_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/failover"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// onRedis returns a store on a real server with the settings of production.
func onRedis(t *testing.T, url string) *failover.Store {
	t.Helper()
	rdb, err := redisstore.Open(redisstore.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	s := failover.New(redisstore.New(rdb), memstore.New(memstore.Options{}), failover.Options{})
	t.Cleanup(func() {
		s.Close()
		_ = rdb.Close()
	})
	return s
}

// asker asks one question and measures the answer.
type asker struct {
	tb      testing.TB
	store   limiter.Store
	checks  []limiter.Check
	results []limiter.Result
}

func newAsker(tb testing.TB, store limiter.Store) *asker {
	rule := limitertest.MustCompile(tb, limiter.Limit{Rate: 1_000_000_000, Interval: time.Hour})
	return &asker{tb, store, []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}}, make([]limiter.Result, 1)}
}

func (a *asker) ask() (limiter.Source, time.Duration) {
	from := time.Now()
	if err := a.store.Take(context.Background(), a.checks, a.results); err != nil || !a.results[0].Allowed {
		a.tb.Errorf("not answered: %+v, %v", a.results[0], err)
	}
	return a.results[0].Source, time.Since(from)
}

// until asks until the answer comes from source, and returns how long it took.
func (a *asker) until(source limiter.Source) time.Duration {
	a.tb.Helper()
	from := time.Now()
	for {
		if got, _ := a.ask(); got == source {
			return time.Since(from)
		}
		if time.Since(from) > 10*time.Second {
			a.tb.Fatalf("no answer from %s within 10 s", source)
		}
		time.Sleep(time.Millisecond)
	}
}

// during asks for a while and returns the times of the slowest answer and of
// all that took more than a millisecond together. Nothing may come from Redis.
func (a *asker) during(d time.Duration) (slowest time.Duration, slow, all int) {
	for from := time.Now(); time.Since(from) < d; all++ {
		source, took := a.ask()
		if source != limiter.SourceMemory {
			a.tb.Errorf("answered from %s", source)
		}
		if took > time.Millisecond {
			slow++
		}
		slowest = max(slowest, took)
		time.Sleep(100 * time.Microsecond)
	}
	return slowest, slow, all
}

// TestOutages kills and stops a real server under a caller who keeps asking.
func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name       string
		begin, end func(*redistest.Server)
	}{
		{"killed and restarted", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"stopped and continued", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := redistest.Start(t)
			a := newAsker(t, onRedis(t, server.URL()))
			for range 2000 { // many calls that go well do not keep the breaker closed
				if source, _ := a.ask(); source != limiter.SourceRedis {
					t.Fatalf("healthy, and yet answered from %s", source)
				}
			}
			tt.begin(server)
			var first []time.Duration
			late := 0
			for range 10 {
				source, took := a.ask()
				if source != limiter.SourceMemory {
					t.Errorf("answered from %s", source)
				}
				if took > 75*time.Millisecond {
					late++
				}
				first = append(first, took)
			}
			if late > 1 { // one may be the machine's fault
				t.Errorf("the first answers took %s, want each within 50 ms", first)
			}
			slowest, slow, all := a.during(1500 * time.Millisecond)
			if slow > all/20 {
				t.Errorf("%d of %d answers took more than a millisecond, the slowest %s", slow, all, slowest)
			}
			ended := time.Now()
			tt.end(server)
			took := a.until(limiter.SourceRedis)
			if took > 2*time.Second {
				t.Errorf("back after %s, want within 2 s", took)
			}
			t.Logf("first ten %s; then %d answers, slowest %s, %d over 1 ms; back %s after the end began, %s after it was done", first, all, slowest, slow, time.Since(ended), took)
		})
	}
}

func TestComesUpBeforeRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	from := time.Now()
	s := onRedis(t, server.URL())
	if took := time.Since(from); took > time.Second {
		t.Errorf("New took %s without Redis", took)
	}
	a := newAsker(t, s)
	for range 10 {
		if source, took := a.ask(); source != limiter.SourceMemory || took > 50*time.Millisecond {
			t.Errorf("answered from %s after %s", source, took)
		}
	}
	if st := s.Status(); st.Up() || st.Err == nil {
		t.Errorf("status %+v, want why it is down", st)
	}
	server.Restart()
	if took := a.until(limiter.SourceRedis); took > 2*time.Second {
		t.Errorf("back after %s, want within 2 s", took)
	}
}

// TestRefusals: states in which a ping is answered and a check is not.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ name, begin, end string }{
		{"demoted", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"out of memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
		{"no replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
		{"permissions taken", "ACL SETUSER default -evalsha -eval", "ACL SETUSER default +@all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := redistest.Start(t)
			s := onRedis(t, server.URL())
			a := newAsker(t, s)
			a.until(limiter.SourceRedis)
			server.MustDo(tt.begin)
			if _, slow, all := a.during(600 * time.Millisecond); slow > all/20 {
				t.Errorf("%d of %d answers took more than a millisecond", slow, all)
			}
			if st := s.Status(); st.Up() {
				t.Errorf("status %+v, want down", st)
			}
			server.MustDo(tt.end)
			took := a.until(limiter.SourceRedis)
			if took > 2*time.Second {
				t.Errorf("back after %s, want within 2 s", took)
			}
			t.Logf("back after %s", took)
		})
	}
}

// TestUnreliableNetwork: replies are lost, late and reset while many callers
// ask, some of them wrongly. Every check is answered, and what Redis says was
// charged is at least what it granted and at most what was asked.
func TestUnreliableNetwork(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	s := onRedis(t, "redis://"+proxy.Addr)
	const burst = 100_000_000
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: burst / 100, Interval: limiter.MaxInterval, Burst: burst})
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	var asked, redis, memory atomic.Int64
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			results := make([]limiter.Result, 1)
			for ctx.Err() == nil {
				if n == 0 {
					if err := s.Take(t.Context(), []limiter.Check{{}}, results); !errors.Is(err, limiter.ErrInvalidCheck) {
						t.Errorf("an invalid check: %v", err)
					}
				}
				if err := s.Take(t.Context(), []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}}, results); err != nil || !results[0].Allowed {
					t.Errorf("not answered: %+v, %v", results[0], err)
					return
				}
				asked.Add(1)
				switch results[0].Source {
				case limiter.SourceRedis:
					redis.Add(1)
				case limiter.SourceMemory:
					memory.Add(1)
				}
			}
		})
	}
	faults := []func(){
		proxy.Heal, func() { proxy.Cut("evalsha") }, proxy.Heal, proxy.Reset, proxy.Heal, func() { proxy.Delay(30 * time.Millisecond) }, proxy.Heal, proxy.BlackHole, proxy.Heal,
	}
	for i := 0; ctx.Err() == nil; i++ {
		faults[i%len(faults)]()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	wg.Wait()
	proxy.Heal()
	a := newAsker(t, s)
	a.checks[0].Demands[0].Rule, a.checks[0].Demands[0].Cost = rule, 0
	a.until(limiter.SourceRedis)
	charged := burst - a.results[0].Levels[0].Remaining
	if redis.Load()+memory.Load() != asked.Load() || charged < redis.Load() || charged > asked.Load() {
		t.Errorf("asked %d: %d by redis, %d by memory; redis charged %d", asked.Load(), redis.Load(), memory.Load(), charged)
	}
	if redis.Load() == 0 || memory.Load() == 0 {
		t.Errorf("%d by redis, %d by memory, want both", redis.Load(), memory.Load())
	}
	t.Logf("asked %d: %d by redis, %d by memory; redis charged %d, %d replies lost", asked.Load(), redis.Load(), memory.Load(), charged, proxy.Lost())
}
