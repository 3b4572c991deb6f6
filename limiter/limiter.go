package limiter

import (
	"context"
	"sync"
	"time"
)

// Limiter holds keys to one limit. It is the shortest way to use a [Store] in
// a program of your own, without any service. It is safe for concurrent use.
type Limiter struct {
	store     Store
	rule      *Rule
	questions sync.Pool // of *question
}

// question is one check and its answer, in space that is used again.
type question struct {
	demand [1]Demand
	check  [1]Check
	result [1]Result
}

// New returns a Limiter that keeps its buckets in store. The error says what
// is wrong with the limit.
func New(store Store, limit Limit) (*Limiter, error) {
	rule, err := limit.Compile()
	if err != nil {
		return nil, err
	}
	return &Limiter{store: store, rule: rule, questions: sync.Pool{New: func() any { return new(question) }}}, nil
}

// Decision is the answer of a [Limiter] about one key.
type Decision struct {
	// Allowed reports whether the tokens were taken.
	Allowed bool
	// Remaining is how many whole tokens are left.
	Remaining int64
	// RetryAfter is how long to wait before the same question would be
	// answered with yes; 0 if it was.
	RetryAfter time.Duration
	// ResetAfter is the time until the bucket is full.
	ResetAfter time.Duration
	// Source is where the decision was made.
	Source Source
}

// Allow takes one token from the bucket of key. It is short for AllowN with 1.
func (l *Limiter) Allow(ctx context.Context, key string) (Decision, error) {
	return l.AllowN(ctx, key, 1)
}

// AllowN takes n tokens from the bucket of key, or none. With n = 0 it only
// looks. It returns an error that wraps ErrInvalidCheck for a negative n,
// ErrCostExceedsBurst for an n that could never be granted, and the store's
// error if nothing could be decided. A denial is not an error.
func (l *Limiter) AllowN(ctx context.Context, key string, n int64) (Decision, error) {
	return l.do(ctx, Take, key, n)
}

// Refund gives n tokens back, at most until the bucket is full.
func (l *Limiter) Refund(ctx context.Context, key string, n int64) (Decision, error) {
	return l.do(ctx, Refund, key, n)
}

// Reset fills the bucket of key.
func (l *Limiter) Reset(ctx context.Context, key string) (Decision, error) {
	return l.do(ctx, Reset, key, 0)
}

func (l *Limiter) do(ctx context.Context, op Op, key string, n int64) (Decision, error) {
	q := l.questions.Get().(*question)
	defer l.questions.Put(q)
	q.demand[0] = Demand{Key: key, Rule: l.rule, Cost: n}
	q.check[0] = Check{Op: op, Demands: q.demand[:]}
	if err := l.store.Take(ctx, q.check[:], q.result[:]); err != nil {
		return Decision{}, err
	}
	r := &q.result[0]
	return Decision{
		Allowed:    r.Allowed,
		Remaining:  r.Levels[0].Remaining,
		RetryAfter: r.Levels[0].RetryAfter,
		ResetAfter: r.Levels[0].ResetAfter,
		Source:     r.Source,
	}, nil
}
