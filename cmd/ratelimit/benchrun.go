package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
	"github.com/quotaworker/ratelimit/limiter"
)

// benchRun is one run of bench: what the flags are turned into, and what has to
// be closed after it.
type benchRun struct {
	*program
	flags   *benchFlags
	ctx     context.Context
	limits  []client.CheckOption // what the flags say about the limit
	options []client.CheckOption // and about the cost
	body    []byte               // of each request; nil if it is empty
	plan    bench.Plan
	closing []func()
	live    bool // progress is shown
}

func (b *benchRun) close() {
	for _, f := range slices.Backward(b.closing) {
		f()
	}
}

// prepare checks the flags, connects, and asks once.
func (b *benchRun) prepare(cmd *cobra.Command) error {
	o := b.flags
	if err := o.check(cmd.Flags().Changed); err != nil {
		return err
	}
	if err := wire.CheckKey(o.prefix); err != nil {
		return wrongUse("--prefix: %s", cause(err))
	}
	keys, err := bench.NewKeys(o.prefix, o.keys, bench.Distribution(o.distribution), o.skew)
	if err != nil {
		return wrongUse("%s; see --keys, --distribution and --skew", err)
	}
	exact, err := b.request(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	if err := b.conn.setTimeout(); err != nil {
		return err
	}
	if err := b.meters(); err != nil {
		return err
	}
	windowed := o.algorithm == wire.AlgorithmFixedWindow || o.algorithm == wire.AlgorithmSlidingWindow
	b.plan.Load = bench.Load{
		Keys:        keys,
		Concurrency: o.concurrency,
		Rate:        o.rate,
		Cost:        o.cost,
		Warmup:      o.warmup,
		Duration:    o.duration / time.Duration(o.rounds),
		Admissions:  bench.NewAdmissions(keys.Len(), exact, windowed),
	}
	b.plan.Rounds = o.rounds
	if isTerminal(b.stderr) {
		b.live = true
		b.plan.Progress = b.progress
	}
	if o.client == clientHTTP {
		return b.overHTTP()
	}
	return b.overNATS()
}

// request makes what each check asks for. It returns the limit that the checks
// bring along, or nil if they have none.
func (b *benchRun) request(given func(string) bool) (*bench.Limit, error) {
	o := b.flags
	var exact *bench.Limit
	if o.limit != "" {
		l, err := limiter.ParseLimit(o.limit)
		if err != nil {
			return nil, wrongUse("--limit: %s", err)
		}
		b.limits = append(b.limits, client.WithRate(l.Rate, l.Interval))
		if l.Burst == 0 {
			l.Burst = l.Rate
		} else {
			b.limits = append(b.limits, client.WithBurst(l.Burst))
		}
		if given("algorithm") {
			b.limits = append(b.limits, client.WithAlgorithm(o.algorithm))
		}
		window := float64(l.Burst) / float64(l.Rate) * float64(l.Interval)
		exact = &bench.Limit{Name: "inline", Tokens: l.Burst, Window: time.Duration(window)}
	}
	b.options = slices.Clip(b.limits)
	if given("cost") {
		b.options = append(b.options, client.WithCost(o.cost))
	}
	if !slices.Contains([]string{wire.AlgorithmTokenBucket, wire.AlgorithmLeakyBucket, wire.AlgorithmSlidingWindow, wire.AlgorithmFixedWindow}, o.algorithm) {
		return nil, wrongUse("--algorithm %q is none; there are %s, %s, %s and %s", o.algorithm,
			wire.AlgorithmTokenBucket, wire.AlgorithmLeakyBucket, wire.AlgorithmSlidingWindow, wire.AlgorithmFixedWindow)
	}
	if err := dryRun(b.options); err != nil {
		return nil, err
	}
	b.body = encodeOptions(b.options)
	return exact, nil
}

// encodeOptions returns the body of a request with options that are known to
// make sense, and nil without any.
func encodeOptions(opts []client.CheckOption) []byte {
	if len(opts) == 0 {
		return nil
	}
	r := wire.Request{Cost: 1}
	for _, opt := range opts {
		_ = opt(&r) // dryRun asked them
	}
	return wire.AppendRequest(nil, &r)
}

// meters connects to what tells processor time.
func (b *benchRun) meters() error {
	ctx, cancel := context.WithTimeout(b.ctx, b.conn.timeout)
	defer cancel()
	if b.flags.redis != "" {
		m, closeIt, err := bench.RedisMeter(b.flags.redis)
		if err != nil {
			return wrongUse("--redis: %s", err)
		}
		b.closing = append(b.closing, func() { closeIt() })
		if _, err := m(ctx); err != nil {
			return noAnswer("--redis: %s", cause(err))
		}
		b.plan.Redis = m
	}
	var workers []bench.Meter
	for _, address := range b.flags.metrics {
		m, err := bench.MetricsMeter(address)
		if err != nil {
			return wrongUse("--metrics: %s", err)
		}
		if _, err := m(ctx); err != nil {
			return noAnswer("--metrics: %s", cause(err))
		}
		workers = append(workers, m)
	}
	if workers != nil {
		b.plan.Worker = bench.Sum(workers)
	}
	return nil
}
