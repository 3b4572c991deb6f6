package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// question holds the flags of a request: the limit to decide by, and the cost.
type question struct {
	rate     int64
	interval time.Duration
	burst    int64
	policy   string
	cost     int64
}

func (q *question) limitFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.Int64Var(&q.rate, "rate", 0, "tokens per interval, a limit of your own; needs --interval")
	f.DurationVar(&q.interval, "interval", 0, "time in which the bucket gets --rate tokens, such as 1s, 500ms or 1h30m")
	f.Int64Var(&q.burst, "burst", 0, "tokens that a full bucket holds (default: as many as --rate)")
	f.StringVar(&q.policy, "policy", "", "name of the policy to decide by (default: the one that matches the key)")
}

func (q *question) costFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().Int64Var(&q.cost, "cost", 1, usage)
}

// options returns what was said on the command line, if it makes sense.
func (q *question) options(cmd *cobra.Command) ([]client.CheckOption, error) {
	given := cmd.Flags().Changed
	var opts []client.CheckOption
	switch {
	case given("rate") && given("interval"):
		opts = append(opts, client.WithRate(q.rate, q.interval))
	case given("rate"):
		return nil, wrongUse("--rate needs --interval, as in --rate %d --interval 1s", q.rate)
	case given("interval"):
		return nil, wrongUse("--interval needs --rate, as in --rate 5 --interval %s", q.interval)
	case given("burst"):
		return nil, wrongUse("--burst needs --rate and --interval, as in --rate 5 --interval 1s --burst %d", q.burst)
	}
	if given("burst") {
		opts = append(opts, client.WithBurst(q.burst))
	}
	if given("policy") {
		opts = append(opts, client.WithPolicy(q.policy))
	}
	if given("cost") {
		opts = append(opts, client.WithCost(q.cost))
	}
	return opts, dryRun(opts)
}

// dryRun returns the error that a worker would answer the options with, so
// that a limit that makes no sense is wrong use even when nobody is there.
func dryRun(opts []client.CheckOption) error {
	r := wire.Request{Cost: 1}
	for _, opt := range opts {
		if err := opt(&r); err != nil {
			return err
		}
	}
	_, err := wire.DecodeRequest(wire.AppendRequest(nil, &r))
	return err
}

// asking completes a command that asks about the keys in its arguments.
func (p *program) asking(cmd *cobra.Command) *cobra.Command {
	cmd.Args = atLeastOne("a key", "ratelimit "+cmd.Name()+" user_123")
	cmd.GroupID = groupAsk
	cmd.Flags().BoolVar(&p.json, "json", false, "print each answer, and an error too, as one line of JSON on stdout")
	return cmd
}

// verb asks the service about one key, as the methods of client.Client do.
type verb func(c *client.Client, ctx context.Context, key string, opts ...client.CheckOption) (client.Result, error)

// ask asks about one key after the other and prints each answer. The first
// error ends it, so that what was printed is what was done. word stands in
// front of the answer; "" means that allowed or denied does.
func (p *program) ask(cmd *cobra.Command, word string, keys []string, q *question, ask verb) error {
	opts, err := q.options(cmd)
	if err != nil {
		return err
	}
	// Nothing is charged for the first key when a later one is mistyped.
	for _, key := range keys {
		if err := wire.CheckKey(key); err != nil {
			return err
		}
	}
	nc, err := p.conn.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	// One by one, because rights are often for the subjects of some keys only.
	c, err := client.New(nc, client.WithoutBatching())
	if err != nil {
		return err
	}
	degraded := false
	for _, key := range keys {
		ctx, cancel := context.WithTimeout(cmd.Context(), p.conn.timeout)
		res, err := ask(c, ctx, key, opts...)
		cancel()
		if err != nil {
			return p.unanswered(key, err)
		}
		p.answer(word, &res)
		degraded = degraded || res.Degraded
		if !res.Allowed {
			p.exit = max(p.exit, exitDenied)
		}
	}
	p.note(degraded)
	return nil
}

// unanswered says about which key there was no answer, and who was asked.
func (p *program) unanswered(key string, err error) error {
	f := *failureOf(err)
	f.key = key
	if f.exit == exitNoAnswer {
		f.message += "; asked " + p.conn.where
	}
	return &f
}
