package failover_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/failover"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.startGlobalTimeCache.func1"))
}

var errGone = errors.New("gone")

// shared is a memory store that passes for the shared one.
type shared struct{ *memstore.Store }

func (s shared) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	err := s.Store.Take(ctx, checks, results)
	for i := range results {
		if results[i].Source != limiter.SourceNone {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}

// rig is a Store whose primary fails and dawdles on command. It works within
// a bubble of fake time.
type rig struct {
	*failover.Store
	failing  *limitertest.Failing
	slow     *limitertest.Slow
	asked    *limitertest.Counting // the primary, probes included
	fallback *limitertest.Counting
	log      *strings.Builder
	rule     *limiter.Rule
}

func newRig(t *testing.T, prepare func(*rig)) *rig {
	t.Helper()
	r := &rig{log: new(strings.Builder), rule: limitertest.MustCompile(t, limiter.Limit{Rate: 1_000_000, Interval: time.Hour})}
	r.failing = &limitertest.Failing{Store: shared{memstore.New(memstore.Options{})}}
	r.slow = &limitertest.Slow{Store: r.failing}
	r.asked = &limitertest.Counting{Store: r.slow}
	r.fallback = &limitertest.Counting{Store: memstore.New(memstore.Options{})}
	if prepare != nil {
		prepare(r)
	}
	r.Store = failover.New(r.asked, r.fallback, failover.Options{Logger: slog.New(slog.NewTextHandler(r.log, nil))})
	t.Cleanup(r.Close)
	return r
}

// take asks once and says where the answer is from and how long it took.
func (r *rig) take(t *testing.T) (limiter.Source, time.Duration) {
	t.Helper()
	from := time.Now()
	results := make([]limiter.Result, 1)
	if err := r.Take(t.Context(), r.check("k"), results); err != nil || !results[0].Allowed || len(results[0].Levels) != 1 {
		t.Fatalf("not answered: %+v, %v", results[0], err)
	}
	return results[0].Source, time.Since(from)
}

func (r *rig) check(keys ...string) []limiter.Check {
	var checks []limiter.Check
	for _, key := range keys {
		checks = append(checks, limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: r.rule, Cost: 1}}})
	}
	return checks
}

func (r *rig) expect(t *testing.T, when, state string, source limiter.Source, within time.Duration) {
	t.Helper()
	got, took := r.take(t)
	if st := r.Status(); got != source || took > within || st.State != state || st.Up() != (state == "closed") || (st.Err == nil) != st.Up() {
		t.Errorf("%s: answered from %s after %s, status %+v; want from %s within %s, %s", when, got, took, st, source, within, state)
	}
}

func TestAsksThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 100 {
			r.expect(t, "healthy", "closed", limiter.SourceRedis, 0)
		}
		if n := r.fallback.Calls.Load(); n != 0 {
			t.Errorf("the fallback was asked %d times", n)
		}
	})
}

// TestTripsOnErrors, at once even when calls went well all along, and comes
// back with the first probe that succeeds.
func TestTripsOnErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 5000 { // five seconds of calls that went well
			r.expect(t, "healthy", "closed", limiter.SourceRedis, 0)
			time.Sleep(time.Millisecond)
		}
		r.failing.Fail(errGone)
		asked := r.asked.Calls.Load()
		for range 100 {
			if source, took := r.take(t); source != limiter.SourceMemory || took > 0 {
				t.Fatalf("while failing: from %s after %s", source, took)
			}
		}
		r.expect(t, "tripped", "open", limiter.SourceMemory, 0)
		if n := r.asked.Calls.Load() - asked; n > 5 {
			t.Errorf("the primary was asked %d times before the breaker tripped", n)
		}
		if err := r.Status().Err; !errors.Is(err, errGone) {
			t.Errorf("status says %v, want %v", err, errGone)
		}
		time.Sleep(10 * time.Second)
		r.expect(t, "still failing", "open", limiter.SourceMemory, 0)
		r.failing.Fail(nil)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		r.expect(t, "back", "closed", limiter.SourceRedis, 0)
		if n := strings.Count(r.log.String(), "\n"); n != 2 {
			t.Errorf("%d lines in the log, want one when it went and one when it came:\n%s", n, r.log)
		}
	})
}

// TestTripsOnSilence: a primary that does not answer costs a few callers the
// timeout, and nobody anything after that.
func TestTripsOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 5000 {
			r.take(t)
			time.Sleep(time.Millisecond)
		}
		r.slow.Delay(time.Hour)
		from := time.Now()
		for r.Status().Up() {
			if source, took := r.take(t); source != limiter.SourceMemory || took > 50*time.Millisecond {
				t.Fatalf("answered from %s after %s", source, took)
			}
		}
		if took := time.Since(from); took > 300*time.Millisecond {
			t.Errorf("the breaker tripped after %s of timeouts, want at most 300 ms", took)
		}
		for range 1000 { // two seconds, through probes that time out
			r.take(t)
			if _, took := r.take(t); took > 0 {
				t.Fatalf("tripped, and yet a check took %s", took)
			}
			time.Sleep(2 * time.Millisecond)
		}
		r.slow.Delay(0)
		time.Sleep(time.Second)
		synctest.Wait()
		r.expect(t, "back", "closed", limiter.SourceRedis, 0)
	})
}

// TestTripsOnSlowness: its answers are used, but there are soon no more.
func TestTripsOnSlowness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 1000 {
			r.take(t)
			time.Sleep(time.Millisecond)
		}
		r.slow.Delay(40 * time.Millisecond)
		r.expect(t, "slow", "closed", limiter.SourceRedis, 40*time.Millisecond)
		for range 10 {
			r.take(t)
		}
		r.expect(t, "too slow", "open", limiter.SourceMemory, 0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.expect(t, "still too slow", "open", limiter.SourceMemory, 0)
		if n := strings.Count(r.log.String(), "\n"); n != 1 {
			t.Errorf("%d lines in the log, want one: it came and went:\n%s", n, r.log)
		}
		r.slow.Delay(10 * time.Millisecond)
		time.Sleep(time.Second)
		synctest.Wait()
		r.expect(t, "fast again", "closed", limiter.SourceRedis, 10*time.Millisecond)
	})
}

// TestNoticesAnOutageWhenNobodyAsks, so that the first check after it costs no
// time.
func TestNoticesAnOutageWhenNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		time.Sleep(time.Minute)
		r.slow.Delay(time.Hour)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if source, took := r.take(t); source != limiter.SourceMemory || took > 0 || r.Status().Up() {
			t.Errorf("after a silent outage: from %s after %s, status %+v", source, took, r.Status())
		}
	})
}

func TestStartsWithoutAPrimary(t *testing.T) {
	for name, prepare := range map[string]func(*rig){
		"refused": func(r *rig) { r.failing.Fail(errGone) },
		"silent":  func(r *rig) { r.slow.Delay(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := time.Now()
				r := newRig(t, prepare)
				if took := time.Since(from); took > 500*time.Millisecond {
					t.Errorf("New took %s", took)
				}
				r.expect(t, "at first", "open", limiter.SourceMemory, 0)
				r.failing.Fail(nil)
				r.slow.Delay(0)
				time.Sleep(time.Second)
				synctest.Wait()
				r.expect(t, "when it came", "closed", limiter.SourceRedis, 0)
			})
		})
	}
}

// partial is a primary that decides only some keys.
type partial struct{ limiter.Store }

func (p partial) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	var failed error
	for i := range checks {
		if strings.HasPrefix(checks[i].Demands[0].Key, "bad") {
			failed = errGone
		} else if err := p.Store.Take(ctx, checks[i:i+1], results[i:i+1]); err != nil {
			return err
		}
	}
	return failed
}

// TestPartialFailures: what the primary decided stands, the rest is decided by
// the fallback, each in its place.
func TestPartialFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		s := failover.New(partial{r.failing}, r.fallback, failover.Options{})
		defer s.Close()
		checks := r.check("a", "bad1", "b", "bad2", "c")
		checks[1].Demands[0].Cost, checks[3].Demands[0].Cost = 10, 20
		results := make([]limiter.Result, len(checks))
		if err := s.Take(t.Context(), checks, results); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range results {
			got = append(got, fmt.Sprint(results[i].Source, results[i].Allowed, results[i].Levels[0].Remaining))
		}
		want := "[redistrue999999 memorytrue999990 redistrue999999 memorytrue999980 redistrue999999]"
		if strings.ReplaceAll(fmt.Sprint(got), " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("got %s, want %s", got, want)
		}
		if n := r.fallback.Checks.Load(); n != 2 {
			t.Errorf("the fallback decided %d checks, want 2", n)
		}
	})
}

// TestBothGone: then there is no decision, and the error is the fallback's.
func TestBothGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		primary := &limitertest.Failing{Store: memstore.New(memstore.Options{})}
		fallback := &limitertest.Failing{Store: memstore.New(memstore.Options{})}
		primary.Fail(errGone)
		last := errors.New("no memory")
		fallback.Fail(last)
		s := failover.New(primary, fallback, failover.Options{})
		defer s.Close()
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour})
		results := []limiter.Result{{Source: limiter.SourceRedis}}
		err := s.Take(t.Context(), []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule}}}}, results)
		if !errors.Is(err, last) || results[0].Source != limiter.SourceNone {
			t.Errorf("got %+v, %v; want %v", results[0], err, last)
		}
	})
}

// TestInvalidChecksDoNotTrip: they are the caller's mistake.
func TestInvalidChecksDoNotTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 100 {
			if err := r.Take(t.Context(), []limiter.Check{{}}, make([]limiter.Result, 1)); !errors.Is(err, limiter.ErrInvalidCheck) {
				t.Fatalf("error %v, want ErrInvalidCheck", err)
			}
			tooMuch := r.check("k")
			tooMuch[0].Demands[0].Cost = 1_000_001
			if err := r.Take(t.Context(), tooMuch, make([]limiter.Result, 1)); !errors.Is(err, limiter.ErrCostExceedsBurst) {
				t.Fatalf("error %v, want ErrCostExceedsBurst", err)
			}
		}
		r.expect(t, "after mistakes", "closed", limiter.SourceRedis, 0)
	})
}

// TestImpatientCallersDoNotTrip: a caller who goes away says nothing about the
// primary, and is answered all the same.
func TestImpatientCallersDoNotTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.slow.Delay(10 * time.Millisecond)
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			results := make([]limiter.Result, 1)
			if err := r.Take(ctx, r.check("k"), results); err != nil || results[0].Source != limiter.SourceMemory {
				t.Fatalf("got %+v, %v; want an answer from memory", results[0], err)
			}
			cancel()
		}
		r.expect(t, "after impatient callers", "closed", limiter.SourceRedis, 10*time.Millisecond)
	})
}

// TestOnError is told every error of the primary, and nothing else.
func TestOnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		primary := &limitertest.Failing{Store: memstore.New(memstore.Options{})}
		var heard []error
		s := failover.New(primary, memstore.New(memstore.Options{}), failover.Options{
			ProbeInterval: time.Hour,
			OnError:       func(err error) { heard = append(heard, err) },
		})
		defer s.Close()
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour})
		check := []limiter.Check{{Demands: []limiter.Demand{{Key: "k", Rule: rule}}}}
		_ = s.Take(t.Context(), check, make([]limiter.Result, 1))
		_ = s.Take(t.Context(), []limiter.Check{{}}, make([]limiter.Result, 1))
		primary.Fail(errGone)
		_ = s.Take(t.Context(), check, make([]limiter.Result, 1))
		if len(heard) != 1 || !errors.Is(heard[0], errGone) {
			t.Errorf("heard %v, want %v once", heard, errGone)
		}
	})
}

// TestClose stops the probe, in the midst of one if need be. The Store still
// answers.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.slow.Delay(time.Hour)
		time.Sleep(1100 * time.Millisecond) // a probe is under way
		from := time.Now()
		r.Close()
		r.Close() // again is fine
		if took := time.Since(from); took > 0 {
			t.Errorf("Close took %s", took)
		}
		asked := r.asked.Calls.Load()
		time.Sleep(time.Minute)
		if n := r.asked.Calls.Load() - asked; n != 0 {
			t.Errorf("%d probes after Close", n)
		}
		r.take(t)
	})
}

// TestConcurrent asks from many goroutines while the primary comes and goes:
// every check is answered, from the one or the other.
func TestConcurrent(t *testing.T) {
	primary := &limitertest.Failing{Store: shared{memstore.New(memstore.Options{})}}
	s := failover.New(primary, memstore.New(memstore.Options{}), failover.Options{ProbeInterval: time.Millisecond})
	defer s.Close()
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1000, Interval: time.Hour})
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	var from [3]atomic.Int64
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			results := make([]limiter.Result, 2)
			checks := []limiter.Check{
				{Demands: []limiter.Demand{{Key: fmt.Sprint(n), Rule: rule, Cost: 1}}},
				{Demands: []limiter.Demand{{Key: "all", Rule: rule, Cost: 1}}},
			}
			for ctx.Err() == nil {
				if err := s.Take(t.Context(), checks, results); err != nil {
					t.Errorf("Take: %v", err)
				}
				for i := range results {
					from[results[i].Source].Add(1)
				}
				_ = s.Status()
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		if i%2 == 0 {
			primary.Fail(errGone)
		} else {
			primary.Fail(nil)
		}
		time.Sleep(5 * time.Millisecond)
	}
	wg.Wait()
	if from[limiter.SourceNone].Load() != 0 || from[limiter.SourceRedis].Load() == 0 || from[limiter.SourceMemory].Load() == 0 {
		t.Errorf("answered by nobody %d, redis %d, memory %d", from[0].Load(), from[1].Load(), from[2].Load())
	}
}
