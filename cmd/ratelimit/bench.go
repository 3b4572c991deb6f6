package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

func (p *program) benchCommand() *cobra.Command {
	var o benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load the service and measure it",
		Long: `Ask the service as fast as it answers, or so many times a second, and say how
many checks it did, how long they took, and whether it granted more than the
limits allow.

Without --rate it is a closed loop: --concurrency checks are in flight, and each
answer is followed by the next check. With --rate it is an open loop: checks are
due at fixed times whatever becomes of those before, and latencies count from
when a check was due, so that a service which stands still cannot hide it.

Clients:
  batch     the Go client, which puts checks of many callers into one message
  request   the Go client without batching: one NATS request per check
  async     bare NATS messages and callbacks, which cost least: to measure the
            service rather than the client
  lease     leases of the Go client, which take tokens ahead: most checks ask
            nobody. There is one for each key, so give --keys or one hot key

With --against the checks go to the HTTP bridge at that address.

--baseline measures an echo too, in turns with the service: a process that
answers at once with the same bytes is asked as async asks, or for the other
clients by bare NATS requests, one per check. Machines get slower and
faster by the minute, so trust the ratios more than the figures.

A key is granted its burst, and its rate times the time, at most. What it was
granted is counted, and more than that is over-admission. The limits are those
that the answers name, or that of --limit.

With --json there is one document:
  setup                     what was run
  service, baseline         checks_per_second, latency_us (p50 p90 p99 p99.9
                            max), counts, errors (by code); each figure is the
                            median, min and max of all rounds
  ratios                    service to baseline: checks_per_second, p50, p99
  pacer_late_us             how late the generator itself was, of an open loop
  redis_cpu_us_per_check, worker_cpu_us_per_check
  admission                 granted_tokens, degraded_tokens, keys, keys_judged,
                            over, over_keys, over_tokens, and nearest: the most
                            that a key was granted, 1 is all that its limit allows
  interrupted               true if it was ended early

Exit codes:
  0  measured, and no key was granted too much
  2  wrong use: a flag, a setting or the limit has to be changed
  3  no answer: no server, no worker, or none in time
  4  over-admission: a key was granted more than its limit allows
`,
		Example: `  ratelimit bench
  ratelimit bench --client async --distribution zipf --baseline
  ratelimit bench --rate 10000 --baseline
  ratelimit bench --distribution hot --limit '100/s burst 1000'
  ratelimit bench --against http://127.0.0.1:8080 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return wrongUse("bench takes flags only, and not %q; see: ratelimit bench --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return p.bench(cmd, &o) },
	}
	o.define(cmd.Flags())
	cmd.Flags().BoolVar(&p.json, "json", false, "print the result, and an error too, as one JSON document on stdout")
	cmd.AddCommand(p.benchEchoCommand())
	return cmd
}

// bench carries out the verb.
func (p *program) bench(cmd *cobra.Command, o *benchFlags) error {
	b := &benchRun{program: p, flags: o, ctx: cmd.Context()}
	defer b.close()
	if err := b.prepare(cmd); err != nil {
		return err
	}
	outcome, err := b.plan.Run(cmd.Context())
	b.clearProgress()
	if err != nil {
		fmt.Fprintf(p.stderr, "ratelimit: %s\n", err)
	}
	if err := b.allFailed(outcome); err != nil {
		return err
	}
	verdict := b.plan.Load.Admissions.Judge(b.plan.Load.Keys)
	report := bench.NewReport(b.setup(), outcome, verdict)
	report.Interrupted = cmd.Context().Err() != nil
	if p.json {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.WriteText(p.stdout)
	}
	if verdict.OverKeys > 0 {
		p.exit = exitOverAdmitted
	}
	return err
}

// allFailed returns why every check failed, or nil if one did not.
func (b *benchRun) allFailed(o *bench.Outcome) error {
	var first error
	for _, r := range o.Target {
		if r.Counts.Answered() > 0 {
			return nil
		}
		if first == nil {
			first = r.FirstError
		}
	}
	if first == nil {
		return nil // interrupted before the first answer
	}
	f := *failureOf(first)
	f.message = "every check failed, the first with: " + f.message
	return &f
}

func (b *benchRun) setup() bench.Setup {
	o := b.flags
	s := bench.Setup{
		Client:       o.client,
		Concurrency:  o.concurrency,
		Connections:  o.connections,
		Rate:         o.rate,
		Keys:         o.keys,
		Distribution: bench.Distribution(o.distribution),
		Cost:         o.cost,
		Limit:        o.limit,
		Rounds:       o.rounds,
		RoundSeconds: b.plan.Load.Duration.Seconds(),
	}
	if s.Distribution == bench.Zipf {
		s.Skew = o.skew
	}
	return s
}

// progress shows how far a round is, on one line that is written over.
func (b *benchRun) progress(round, rounds int, baseline bool, now bench.Progress) {
	what := "service"
	if baseline {
		what = "echo"
	}
	// It has to fit into 80 columns.
	fmt.Fprintf(b.stderr, "\r\x1b[K%-7s %d/%d %4.1fs %7.0f/s  p50 %s  p99 %s  %d failed",
		what, round, rounds, now.Elapsed.Seconds(), now.PerSecond, bench.Short(now.P50), bench.Short(now.P99), now.Counts.Failed)
}

func (b *benchRun) clearProgress() {
	if b.live {
		fmt.Fprint(b.stderr, "\r\x1b[K")
	}
}

// isTerminal reports whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
