package bench

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKeys(t *testing.T, n int, d Distribution) *Keys {
	t.Helper()
	k, err := NewKeys("bench", n, d, 1.1)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreValidAndEquallyLong(t *testing.T) {
	k := newKeys(t, 1001, Uniform)
	seen := make(map[string]bool)
	for i := range k.Len() {
		name := k.Name(i)
		if err := wire.CheckKey(name); err != nil {
			t.Fatal(err)
		}
		if len(name) != len("bench.0000") {
			t.Errorf("key %q is not as long as the others", name)
		}
		seen[name] = true
	}
	if len(seen) != 1001 {
		t.Errorf("got %d different keys, want 1001", len(seen))
	}
	if got, want := k.subjects("ratelimit.check").at(7), "ratelimit.check.bench.0007"; got != want {
		t.Errorf("got subject %q, want %q", got, want)
	}
}

func TestKeysOutOfBounds(t *testing.T) {
	for _, c := range []struct {
		n    int
		d    Distribution
		skew float64
	}{{0, Uniform, 1.1}, {MaxKeys + 1, Uniform, 1.1}, {1, "normal", 1.1}, {1, Zipf, 1}, {1, Zipf, math.NaN()}, {1, Zipf, 11}} {
		if _, err := NewKeys("bench", c.n, c.d, c.skew); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestDistributions(t *testing.T) {
	const n, draws = 1000, 200_000
	for d, want := range map[Distribution]struct{ first, second, last float64 }{
		Uniform: {1. / n, 1. / n, 1. / n},
		// 1/i^1.1 divided by the sum of all, which is 5.57.
		Zipf: {0.1793, 0.0837, 0.00009},
		Hot:  {1, 0, 0},
	} {
		next := newKeys(t, n, d).stream(1)
		counts := make([]float64, n)
		for range draws {
			counts[next()]++
		}
		for _, c := range []struct {
			key  int
			want float64
		}{{0, want.first}, {1, want.second}, {n - 1, want.last}} {
			got := counts[c.key] / draws
			// Five standard deviations.
			if slack := 5*math.Sqrt(c.want/draws) + 1e-9; math.Abs(got-c.want) > slack && d != Hot || d == Hot && got != c.want {
				t.Errorf("%s: key %d is asked about in %.5f of all checks, want %.5f +- %.5f", d, c.key, got, c.want, slack)
			}
		}
	}
}

func TestStreamsDiffer(t *testing.T) {
	k := newKeys(t, 1_000_000, Uniform)
	a, b, again := k.stream(1), k.stream(2), k.stream(1)
	same := 0
	for range 100 {
		x := a()
		if x == b() {
			same++
		}
		if y := again(); x != y {
			t.Fatalf("the same seed gives %d and %d", x, y)
		}
	}
	if same > 2 {
		t.Errorf("two streams agree in %d of 100 keys", same)
	}
}

// allow is an Ask that grants everything at once.
func allow(context.Context, int) (Answer, error) { return Answer{Allowed: true}, nil }

// TestClosedLoopKeepsConcurrency has checks that take a millisecond: as many
// are in flight as there should be, and no more.
func TestClosedLoopKeepsConcurrency(t *testing.T) {
	var now, most atomic.Int64
	ask := func(ctx context.Context, key int) (Answer, error) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		return Answer{}, nil
	}
	r := Run(t.Context(), Callers{ask}, &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 16, Duration: 100 * time.Millisecond})
	if got := most.Load(); got != 16 {
		t.Errorf("%d checks were in flight, want 16", got)
	}
	if r.Counts.Denied == 0 || r.PerSecond <= 0 || r.Counts.Unsent != 0 {
		t.Errorf("got %+v, %.0f a second", r.Counts, r.PerSecond)
	}
}

// TestNoCoordinatedOmission has a target stand still for a while. Most checks
// are due during that time, so most latencies are long, though only as many
// checks as there are callers were ever sent and kept waiting.
func TestNoCoordinatedOmission(t *testing.T) {
	const stall = 400 * time.Millisecond
	ask := func() Ask {
		begin := time.Now()
		return func(context.Context, int) (Answer, error) {
			time.Sleep(stall - time.Since(begin))
			return Answer{Allowed: true}, nil
		}
	}
	load := &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 2, Rate: 1000, Duration: 600 * time.Millisecond}
	r := Run(t.Context(), Callers{ask()}, load)
	if got, want := r.Latency.TotalCount(), int64(600); got != want {
		t.Errorf("%d latencies, want one for each of %d checks that were due", got, want)
	}
	if got, want := time.Duration(r.Latency.ValueAtPercentile(50)), 90*time.Millisecond; got < want {
		t.Errorf("p50 is %s, want %s at least: two thirds of the checks were due while the target stood still", got, want)
	}

	// The same target in a closed loop hides it, and that is why there is an
	// open one: only the checks of the two callers were slow.
	load.Rate = 0
	r = Run(t.Context(), Callers{ask()}, load)
	if got := time.Duration(r.Latency.ValueAtPercentile(99)); got > 50*time.Millisecond {
		t.Errorf("p99 of a closed loop is %s; this test does not test what it says", got)
	}
}

// TestUnsentCounts has a target that never answers in time: what could not be
// sent counts with the time it waited.
func TestUnsentCounts(t *testing.T) {
	end := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(end) })
	ask := func(context.Context, int) (Answer, error) { <-end; return Answer{}, nil }
	r := Run(t.Context(), Callers{ask}, &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 1, Rate: 1000, Duration: 200 * time.Millisecond})
	if got := r.Counts.Unsent; got < 190 || got > 199 {
		t.Errorf("%d unsent, want nearly all of 200", got)
	}
	if got := r.Latency.TotalCount(); got != 200 {
		t.Errorf("%d latencies, want 200", got)
	}
	if got := time.Duration(r.Latency.ValueAtPercentile(90)); got < 150*time.Millisecond {
		t.Errorf("p90 is %s, want the time that the first tenth waited", got)
	}
}

// TestOpenLoopKeepsItsRate sends as many checks as are due, whatever sleeping
// costs.
func TestOpenLoopKeepsItsRate(t *testing.T) {
	r := Run(t.Context(), Callers{allow}, &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 64, Rate: 2000, Duration: 300 * time.Millisecond})
	if got := r.Counts.Allowed + r.Counts.Unsent; got != 600 {
		t.Errorf("%d checks were due, want 600", got)
	}
	if r.Late.TotalCount() == 0 {
		t.Error("the pacer does not say how late it was")
	}
}

func TestErrorsAreCountedByCode(t *testing.T) {
	var n atomic.Int64
	ask := func(context.Context, int) (Answer, error) {
		time.Sleep(time.Millisecond)
		switch n.Add(1) % 3 {
		case 0:
			return Answer{}, &wire.Error{Code: wire.CodeOverloaded, Message: "full"}
		case 1:
			return Answer{}, errors.New("anything")
		}
		return Answer{Allowed: true}, nil
	}
	r := Run(t.Context(), Callers{ask}, &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 1, Duration: 60 * time.Millisecond})
	if r.Errors["overloaded"] == 0 || r.Errors["unavailable"] == 0 || r.Errors["overloaded"]+r.Errors["unavailable"] != r.Counts.Failed {
		t.Errorf("got %v of %+v", r.Errors, r.Counts)
	}
	if r.FirstError == nil || r.Counts.Allowed == 0 {
		t.Errorf("got first error %v and %+v", r.FirstError, r.Counts)
	}
}

func TestInterruptEndsARound(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, interrupt)
	for _, rate := range []float64{0, 1000} {
		begin := time.Now()
		r := Run(ctx, Callers{allow}, &Load{Keys: newKeys(t, 10, Uniform), Concurrency: 2, Rate: rate, Duration: time.Minute})
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("rate %v: it went on for %s", rate, took)
		}
		if rate == 0 && r.PerSecond < 1000 {
			t.Errorf("%.0f checks/s, want the figure until the interrupt", r.PerSecond)
		}
	}
}

// TestPlanTakesTurns interleaves the two sides, and the second of one round is
// the first of the next.
func TestPlanTakesTurns(t *testing.T) {
	var order []byte
	side := func(name byte) Target {
		return turn(func() { order = append(order, name) })
	}
	meter := time.Duration(0)
	p := Plan{
		Target: side('s'), Baseline: side('e'), Rounds: 3,
		Load:  Load{Keys: newKeys(t, 1, Hot), Concurrency: 1, Duration: time.Millisecond},
		Redis: func(context.Context) (time.Duration, error) { meter += time.Microsecond; return meter, nil },
	}
	out, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if string(order) != "seesse" {
		t.Errorf("got the order %s, want seesse", order)
	}
	if len(out.Target) != 3 || len(out.Baseline) != 3 {
		t.Errorf("got %d and %d rounds, want 3 of each", len(out.Target), len(out.Baseline))
	}
	// Three rounds of a check and a microsecond.
	if out.Redis != time.Microsecond {
		t.Errorf("got %s of Redis per check, want 1us", out.Redis)
	}
}

// turn is a Target that makes one check in each round.
type turn func()

func (f turn) drive(_ context.Context, _ *Load, p *pace, r *recorder) {
	f()
	r.shard(0).done(0, p.clock.now(), Answer{Allowed: true}, nil)
}

// TestInterruptReachesASleepingPacer ends a loop that has nothing due for long.
func TestInterruptReachesASleepingPacer(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, interrupt)
	begin := time.Now()
	Run(ctx, Callers{allow}, &Load{Keys: newKeys(t, 1, Hot), Concurrency: 1, Rate: 0.1, Duration: time.Minute})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it went on for %s", took)
	}
}
