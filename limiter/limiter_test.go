package limiter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestLimiter(t *testing.T) {
	lim, err := limiter.New(memstore.New(memstore.Options{}), limiter.Limit{Rate: 1, Interval: time.Hour, Burst: 5})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for i, step := range []struct {
		do        func() (limiter.Decision, error)
		allowed   bool
		remaining int64
	}{
		{func() (limiter.Decision, error) { return lim.AllowN(ctx, "k", 0) }, true, 5},
		{func() (limiter.Decision, error) { return lim.Allow(ctx, "k") }, true, 4},
		{func() (limiter.Decision, error) { return lim.AllowN(ctx, "k", 3) }, true, 1},
		{func() (limiter.Decision, error) { return lim.AllowN(ctx, "k", 2) }, false, 1},
		{func() (limiter.Decision, error) { return lim.Allow(ctx, "other") }, true, 4},
		{func() (limiter.Decision, error) { return lim.Refund(ctx, "k", 2) }, true, 3},
		{func() (limiter.Decision, error) { return lim.Reset(ctx, "k") }, true, 5},
	} {
		got, err := step.do()
		if err != nil || got.Allowed != step.allowed || got.Remaining != step.remaining || got.Source != limiter.SourceMemory {
			t.Fatalf("step %d: got %+v, %v; want allowed %t, %d left", i, got, err, step.allowed, step.remaining)
		}
		if (got.RetryAfter > 0) == got.Allowed || (got.ResetAfter > 0) != (got.Remaining < 5) {
			t.Fatalf("step %d: retry after %s, reset after %s: %+v", i, got.RetryAfter, got.ResetAfter, got)
		}
	}
}

func TestLimiterErrors(t *testing.T) {
	if _, err := limiter.New(memstore.New(memstore.Options{}), limiter.Limit{}); !errors.Is(err, limiter.ErrInvalidLimit) {
		t.Errorf("New with no limit: error %v, want ErrInvalidLimit", err)
	}
	store := &limitertest.Failing{Store: memstore.New(memstore.Options{})}
	lim, err := limiter.New(store, limiter.Limit{Rate: 5, Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	gone := errors.New("gone")
	for _, tt := range []struct {
		name string
		fail error
		do   func() (limiter.Decision, error)
		want error
	}{
		{"negative cost", nil, func() (limiter.Decision, error) { return lim.AllowN(ctx, "k", -1) }, limiter.ErrInvalidCheck},
		{"cost past the burst", nil, func() (limiter.Decision, error) { return lim.AllowN(ctx, "k", 6) }, limiter.ErrCostExceedsBurst},
		{"negative refund", nil, func() (limiter.Decision, error) { return lim.Refund(ctx, "k", -1) }, limiter.ErrInvalidCheck},
		{"store gone", gone, func() (limiter.Decision, error) { return lim.Allow(ctx, "k") }, gone},
		{"store back", nil, func() (limiter.Decision, error) { return lim.Allow(ctx, "k") }, nil},
	} {
		store.Fail(tt.fail)
		got, err := tt.do()
		if !errors.Is(err, tt.want) || tt.want != nil && got != (limiter.Decision{}) {
			t.Errorf("%s: got %+v, %v; want error %v", tt.name, got, err, tt.want)
		}
	}
}

func TestSourceWords(t *testing.T) {
	for s, want := range map[limiter.Source]string{limiter.SourceNone: "none", limiter.SourceRedis: "redis", limiter.SourceMemory: "memory", 99: "none"} {
		if got := s.String(); got != want {
			t.Errorf("Source(%d) is %q, want %q", s, got, want)
		}
		if got := s.Shared(); got != (want == "redis") {
			t.Errorf("%q is shared: %t", want, got)
		}
	}
}

// BenchmarkAllow is the shortest way there is from a program to its bucket.
func BenchmarkAllow(b *testing.B) {
	lim, err := limiter.New(memstore.New(memstore.Options{}), limiter.Limit{Rate: 1_000_000, Interval: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lim.Allow(b.Context(), "user.42"); err != nil {
			b.Fatal(err)
		}
	}
}
