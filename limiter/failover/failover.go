// Package failover answers from a second store while the first one is gone.
//
// A [Store] asks its primary, which is Redis in production, and gives it a
// short time. What the primary did not decide the fallback does, at once, so
// that every check is answered; the Source of its result says where. A circuit
// breaker counts the primary's errors and its slowness. Once it trips, checks
// go straight to the fallback without waiting for anything, while a probe, one
// small check with a longer deadline, looks for the primary to come back.
//
// A check is never put to the primary twice. One whose answer was lost on the
// way may have been charged there and is then decided by the fallback: it is
// charged twice and granted once, which errs to the safe side.
//
// A check can say that it would rather be allowed or denied than decided by
// the fallback, see limiter.Check.OnOutage. Its result then has the source
// limiter.SourcePolicy, and a denial the retry time of a second.
//
// # What it lets through
//
// The fallback does not know what other processes do. With N of them, each on
// a memory of its own, a key with burst B and rate r admits during an outage
// of D at most N*(B + r*D), and what is spent then is not taken off in the
// primary afterwards. A window that contains the outage therefore sees at most
// N*B + (N-1)*r*D + min(B, r*D) more than the limit alone would admit.
package failover

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/quotaworker/ratelimit/limiter"
)

// Options configures a Store. The zero value of a field means its default.
type Options struct {
	// Timeout bounds a call of the primary. The default is 50 ms.
	Timeout time.Duration

	// Slow is how long a call may take before the breaker counts it as
	// failed, although its answers are used. The default is half of Timeout.
	Slow time.Duration

	// ProbeInterval is how often the primary is probed. The default is a
	// second while it is well, to notice an outage when nobody asks, and a
	// quarter of a second while it is not.
	ProbeInterval time.Duration

	// ProbeTimeout bounds a probe. It is longer than Timeout, because a
	// probe may have to connect first. The default is 500 ms.
	ProbeTimeout time.Duration

	// Logger is told when the primary goes and comes. The default discards.
	Logger *slog.Logger

	// OnError, if set, is called with every error of the primary, by the
	// goroutine that got it.
	OnError func(error)
}

// Store is a limiter.Store made of two. It is safe for concurrent use.
type Store struct {
	primary, fallback limiter.Store

	o       Options
	breaker circuitbreaker.CircuitBreaker[any]
	probe   limiter.Check
	stop    context.CancelFunc
	stopped chan struct{}

	mu     sync.Mutex // guards status
	status Status
}

var _ limiter.Store = (*Store)(nil)

// Status says how the primary is.
type Status struct {
	// State is the state of the breaker: "closed" when the primary is asked,
	// "open" when it is not, "half-open" when a probe is deciding.
	State string

	// Since is when the breaker last left or reached "closed".
	Since time.Time

	// Latency is how long the last successful probe took.
	Latency time.Duration

	// Err is why the breaker is not closed; nil if it is.
	Err error
}

// Up reports whether checks are put to the primary.
func (s Status) Up() bool { return s.State == circuitbreaker.ClosedState.String() }

// New returns a Store, of which Close stops the probe. It probes the primary
// once before it returns, so that a primary which is not there costs no check
// any time.
func New(primary, fallback limiter.Store, o Options) *Store {
	if o.Timeout <= 0 {
		o.Timeout = 50 * time.Millisecond
	}
	if o.Slow <= 0 {
		o.Slow = o.Timeout / 2
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = 500 * time.Millisecond
	}
	healthy, ailing := time.Second, 250*time.Millisecond
	if o.ProbeInterval > 0 {
		healthy, ailing = o.ProbeInterval, o.ProbeInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		primary: primary, fallback: fallback,
		o:       o,
		probe:   probeCheck(),
		stop:    stop,
		stopped: make(chan struct{}),
		status:  Status{State: circuitbreaker.ClosedState.String(), Since: time.Now()},
	}
	s.breaker = circuitbreaker.NewBuilder[any]().
		// Three of the last six calls. Counted over a span of time instead,
		// many calls that went well would keep it closed for seconds.
		WithFailureThresholdRatio(3, 6).
		WithSuccessThreshold(1).
		WithDelay(ailing).
		OnStateChanged(s.changed).
		Build()
	if err := s.look(ctx); err != nil {
		s.breaker.Open()
	}
	go s.keepLooking(ctx, healthy, ailing)
	return s
}

// Close stops the probe and waits for it. The Store still answers, but a
// primary that is down stays so.
func (s *Store) Close() {
	s.stop()
	<-s.stopped
}

// Status returns how the primary is now.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if st.Up() {
		st.Err = nil // of a single call
	}
	return st
}

// Take implements limiter.Store. It returns an error only when the fallback
// does, or when the checks are invalid.
func (s *Store) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if !s.breaker.IsClosed() {
		if !slices.ContainsFunc(checks, hasWord) {
			return s.fallback.Take(ctx, checks, results)
		}
		if err := limiter.Prepare(checks, results); err != nil {
			return err
		}
		return s.fallBack(ctx, checks, results)
	}
	err := s.ask(ctx, s.o.Timeout, checks, results)
	if err == nil || errors.Is(err, limiter.ErrInvalidCheck) || errors.Is(err, limiter.ErrCostExceedsBurst) {
		return err
	}
	return s.fallBack(ctx, checks, results)
}

// fallBack decides what the primary did not: by the word of those checks that
// have one, and by the fallback for the others.
func (s *Store) fallBack(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	var (
		open  []int
		left  []limiter.Check
		given []limiter.Result
	)
	for i := range results {
		switch {
		case results[i].Source != limiter.SourceNone:
		case hasWord(checks[i]):
			answerOutage(&checks[i], &results[i])
		default:
			open = append(open, i)
			left = append(left, checks[i])
			given = append(given, results[i])
		}
	}
	if len(open) == 0 {
		return nil
	}
	err := s.fallback.Take(ctx, left, given)
	for j, i := range open {
		results[i] = given[j]
	}
	return err
}

// hasWord reports whether the check itself says how to answer it in an outage.
func hasWord(c limiter.Check) bool { return c.OnOutage != limiter.OutageMemory && c.Taking() }

// outageRetry is how long to wait after a denial that nobody decided. Until
// then the primary has been probed a few times.
const outageRetry = time.Second

// answerOutage answers a check by what it says about outages.
func answerOutage(c *limiter.Check, res *limiter.Result) {
	level := limiter.Level{Admitted: true}
	if c.OnOutage == limiter.OutageDeny {
		level = limiter.Level{RetryAfter: outageRetry}
	}
	*res = limiter.Result{Allowed: level.Admitted, Source: limiter.SourcePolicy, Levels: res.Levels[:0]}
	for range c.Demands {
		res.Levels = append(res.Levels, level)
	}
}

// ask asks the primary and tells the breaker how it went.
func (s *Store) ask(caller context.Context, timeout time.Duration, checks []limiter.Check, results []limiter.Result) error {
	ctx, cancel := context.WithTimeout(caller, timeout)
	defer cancel()
	start := time.Now()
	err := s.primary.Take(ctx, checks, results)
	took := time.Since(start)
	switch {
	case errors.Is(err, limiter.ErrInvalidCheck), errors.Is(err, limiter.ErrCostExceedsBurst):
		return err // says nothing about the primary
	case err != nil:
		s.o.OnError(err)
		if caller.Err() != nil && took <= s.o.Slow {
			return err // the caller went away: nor does that
		}
		s.failed(err)
	case took > s.o.Slow:
		s.failed(errSlow)
	default:
		s.breaker.RecordSuccess()
	}
	return err
}

var errSlow = errors.New("its answers are too slow")

// failed records a failure, with the reason where a change of state finds it.
func (s *Store) failed(err error) {
	s.mu.Lock()
	s.status.Err = err
	s.mu.Unlock()
	s.breaker.RecordFailure()
}

// changed notes and logs a change of the breaker's state. It is called by the
// breaker, within a Record or Try call.
func (s *Store) changed(e circuitbreaker.StateChangedEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	down := now.Sub(s.status.Since)
	s.status.State = e.NewState.String()
	switch {
	case e.NewState == circuitbreaker.ClosedState:
		s.status.Since = now
		s.o.Logger.Info("the shared store is back: answers are shared again", "down", down.Round(time.Millisecond).String())
	case e.OldState == circuitbreaker.ClosedState:
		s.status.Since = now
		s.o.Logger.Warn("the shared store is unavailable: answering from memory, so limits hold per worker", "error", s.status.Err)
	}
}

// keepLooking probes the primary until ctx ends.
func (s *Store) keepLooking(ctx context.Context, healthy, ailing time.Duration) {
	defer close(s.stopped)
	for {
		pause := healthy
		if !s.breaker.IsClosed() {
			pause = ailing
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if s.breaker.TryAcquirePermit() {
			_ = s.look(ctx) // the breaker is told
		}
	}
}

// look probes the primary once.
func (s *Store) look(ctx context.Context) error {
	checks, results := [1]limiter.Check{s.probe}, [1]limiter.Result{}
	start := time.Now()
	// A probe that had to connect first and took long for it counts as failed;
	// the next one finds the connection. Slow is for a probe what it is for a
	// check, or else a primary that is a little too slow would come and go.
	err := s.ask(ctx, s.o.ProbeTimeout, checks[:], results[:])
	if err == nil {
		s.mu.Lock()
		s.status.Latency = time.Since(start)
		s.mu.Unlock()
	}
	return err
}

// probeCheck returns a check that exercises all that a real one does, writing
// included, because a store can answer a ping and still refuse to write. Its
// key is empty, which no caller's is.
func probeCheck() limiter.Check {
	rule, err := limiter.Limit{Name: "probe", Rate: 1_000_000, Interval: time.Second}.Compile()
	if err != nil {
		panic(err) // a constant
	}
	return limiter.Check{Demands: []limiter.Demand{{Rule: rule, Cost: 1}}}
}
