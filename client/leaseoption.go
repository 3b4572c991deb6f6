package client

import (
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// LeaseOption says more about a [Lease]: how it holds tokens, or, being a
// [CheckOption], which limit they are taken from.
type LeaseOption interface {
	lease(*leaseConfig) error
}

// leaseConfig is what the options of a lease come to.
type leaseConfig struct {
	check []CheckOption
	hold  time.Duration
	most  int64
}

// DefaultHoldTime is how long a lease holds tokens that nobody spends, unless
// [WithHoldTime] says otherwise.
const DefaultHoldTime = time.Second

// unbounded is more tokens than a bucket can have.
const unbounded = 1 << 53

type leaseOption func(*leaseConfig) error

func (o leaseOption) lease(cfg *leaseConfig) error { return o(cfg) }

func (o CheckOption) lease(cfg *leaseConfig) error {
	cfg.check = append(cfg.check, o)
	return nil
}

// WithHoldTime bounds how long a lease holds a token before it spends it or
// gives it back, and how long it remembers a denial. d is between 1ms and 1m.
func WithHoldTime(d time.Duration) LeaseOption {
	return leaseOption(func(cfg *leaseConfig) error {
		if d < time.Millisecond || d > time.Minute {
			return wire.Errorf(wire.CodeInvalidRequest, "hold time: %s is not between 1ms and 1m", d)
		}
		cfg.hold = d
		return nil
	})
}

// WithMaxHeld bounds how many tokens a lease holds ahead. n is at least 0, and
// with 0 it holds none: each Take asks, one after the other. By default the
// only bound is what the bucket has.
func WithMaxHeld(n int64) LeaseOption {
	return leaseOption(func(cfg *leaseConfig) error {
		if n < 0 {
			return wire.Errorf(wire.CodeInvalidRequest, "max held: %d must not be negative", n)
		}
		cfg.most = min(n, unbounded)
		return nil
	})
}

// newLeaseConfig applies the options, and returns the request that the check
// options make, without a cost.
func newLeaseConfig(opts []LeaseOption) (leaseConfig, wire.Request, error) {
	cfg := leaseConfig{hold: DefaultHoldTime, most: unbounded}
	for _, opt := range opts {
		if err := opt.lease(&cfg); err != nil {
			return cfg, wire.Request{}, err
		}
	}
	var r wire.Request
	if err := apply(cfg.check, &r); err != nil {
		return cfg, r, err
	}
	if r.CostGiven {
		return cfg, r, wire.Errorf(wire.CodeInvalidRequest, "cost: a lease has none; say it with each Take")
	}
	return cfg, r, nil
}
