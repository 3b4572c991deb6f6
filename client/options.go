package client

import (
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// CheckOption says more about one request. All of them can be given to
// [Client.Check], [Client.Refund] and each [Item] of [Client.CheckEach];
// [Client.Peek] and [Client.Reset] take all but [WithCost]. A value out of its
// bounds makes the call fail with [ErrInvalidRequest] before anything is sent.
type CheckOption func(*wire.Request) error

// WithRate brings a limit along: rate tokens per interval, and at most rate at
// once unless [WithBurst] says otherwise. It counts where the operator has no
// policy for the key and allows limits in requests. rate is between 1 and
// 2^53; interval between 1ms and 366 days, in whole microseconds.
func WithRate(rate int64, interval time.Duration) CheckOption {
	return func(r *wire.Request) error {
		if rate == 0 {
			return wire.Errorf(wire.CodeInvalidRequest, "rate: must be at least 1")
		}
		if interval%time.Microsecond != 0 {
			return wire.Errorf(wire.CodeInvalidRequest, "interval: %s must be in whole microseconds", interval)
		}
		r.Rate, r.IntervalMicros = rate, interval.Microseconds()
		return nil
	}
}

// WithBurst sets the capacity of the limit that [WithRate] brings along: how
// many tokens a full bucket holds, between 1 and 2^53.
func WithBurst(burst int64) CheckOption {
	return func(r *wire.Request) error {
		if burst == 0 {
			return wire.Errorf(wire.CodeInvalidRequest, "burst: must be at least 1; leave it out for as much as the rate")
		}
		r.Burst = burst
		return nil
	}
}

// WithAlgorithm names the algorithm of the limit that [WithRate] brings along.
// There are "token_bucket", which is the default, "leaky_bucket",
// "sliding_window" and "fixed_window".
func WithAlgorithm(name string) CheckOption {
	return func(r *wire.Request) error {
		if name == "" {
			return wire.Errorf(wire.CodeInvalidRequest, "algorithm: the name is empty; leave it out for %s", wire.AlgorithmTokenBucket)
		}
		r.Algorithm = name
		return nil
	}
}

// WithCost sets how many tokens to take or to give back, up to 2^53. By
// default it is what the policy says, which is 1 if there is none; 0 takes
// nothing.
func WithCost(cost int64) CheckOption {
	return func(r *wire.Request) error {
		r.Cost, r.CostGiven = cost, true
		return nil
	}
}

// WithPolicy decides by the policy of that name, rather than by the one that
// matches the key.
func WithPolicy(name string) CheckOption {
	return func(r *wire.Request) error {
		if name == "" {
			return wire.Errorf(wire.CodeInvalidRequest, "policy: the name is empty; leave it out for the policy that matches the key")
		}
		r.Policy = name
		return nil
	}
}
