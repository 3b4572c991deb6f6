package limitertest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// Failing is a store that fails on command, as a Redis that is gone does.
type Failing struct {
	limiter.Store
	err atomic.Pointer[error]
}

// Fail makes every Take return err without asking the store; nil ends that.
func (f *Failing) Fail(err error) {
	if err == nil {
		f.err.Store(nil)
	} else {
		f.err.Store(&err)
	}
}

// Take implements limiter.Store.
func (f *Failing) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if err := f.err.Load(); err != nil {
		if err := limiter.Prepare(checks, results); err != nil {
			return err
		}
		return *err
	}
	return f.Store.Take(ctx, checks, results)
}

// Slow is a store that takes its time, or the caller's if that ends sooner.
type Slow struct {
	limiter.Store
	delay atomic.Int64
}

// Delay sets how long every Take waits before it asks the store.
func (s *Slow) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// Take implements limiter.Store.
func (s *Slow) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if d := time.Duration(s.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			if err := limiter.Prepare(checks, results); err != nil {
				return err
			}
			return ctx.Err()
		}
	}
	return s.Store.Take(ctx, checks, results)
}

// Counting is a store that counts.
type Counting struct {
	limiter.Store
	// Calls is how often Take was called, Checks for how many checks.
	Calls, Checks atomic.Int64
}

// Take implements limiter.Store.
func (c *Counting) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	c.Calls.Add(1)
	c.Checks.Add(int64(len(checks)))
	return c.Store.Take(ctx, checks, results)
}
