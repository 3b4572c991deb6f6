package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
	"github.com/quotaworker/ratelimit/limiter"
)

// benchFlags holds the flags of bench.
type benchFlags struct {
	client  string
	against string

	concurrency int
	connections int
	rate        float64

	keys         int
	distribution string
	skew         float64
	prefix       string

	cost      int64
	limit     string
	algorithm string

	duration time.Duration
	warmup   time.Duration
	rounds   int
	baseline bool

	redis   string
	metrics []string
}

// The clients of --client.
const (
	clientBatch   = "batch"
	clientRequest = "request"
	clientAsync   = "async"
	clientLease   = "lease"
	clientHTTP    = "http" // by --against
)

var benchClients = []string{clientBatch, clientRequest, clientAsync, clientLease}

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
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.client, "client", clientBatch, "how to ask: "+strings.Join(benchClients, ", "))
	f.StringVar(&o.against, "against", "", "ask the HTTP bridge at this address instead of NATS")
	f.IntVarP(&o.concurrency, "concurrency", "c", 128, "checks in flight at most")
	f.IntVar(&o.connections, "connections", 0, "connections to ask over (default: 1, or over HTTP one for each check in flight)")
	f.Float64Var(&o.rate, "rate", 0, "checks per second, in an open loop (default: a closed loop)")
	f.IntVar(&o.keys, "keys", 100_000, "how many keys there are")
	f.StringVar(&o.distribution, "distribution", string(bench.Uniform), "how often each key is asked about: uniform, zipf, or hot for one key only")
	f.Float64Var(&o.skew, "skew", 1.1, "of zipf: the n-th key is asked about in proportion to 1/n^skew")
	f.StringVar(&o.prefix, "prefix", "bench", "what all keys begin with")
	f.Int64Var(&o.cost, "cost", 1, "tokens that each check takes")
	f.StringVar(&o.limit, "limit", "", "a limit that the checks bring along, such as '10/s burst 100'")
	f.StringVar(&o.algorithm, "algorithm", wire.AlgorithmTokenBucket, "algorithm of --limit, and of the limits that the service has")
	f.DurationVarP(&o.duration, "duration", "d", 10*time.Second, "how long the service is measured, in all rounds together")
	f.DurationVar(&o.warmup, "warmup", 250*time.Millisecond, "how long each round goes on before it is measured")
	f.IntVar(&o.rounds, "rounds", 0, "rounds to measure in (default: 1, or 5 with --baseline)")
	f.BoolVar(&o.baseline, "baseline", false, "measure an echo too, in turns with the service, and print ratios")
	f.StringVar(&o.redis, "redis", "", "URL of the service's Redis, to measure its processor time")
	f.StringArrayVar(&o.metrics, "metrics", nil, "address of a worker's /metrics, to measure its processor time; once for each worker")
	f.BoolVar(&p.json, "json", false, "print the result, and an error too, as one JSON document on stdout")
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

// check refuses flags that make no sense, and fills in what depends on others.
func (o *benchFlags) check(given func(string) bool) error {
	switch {
	case o.against != "" && given("client"):
		return wrongUse("--client is about NATS, and --against asks over HTTP; leave one of them out")
	case o.against != "" && o.baseline:
		return wrongUse("--baseline is an echo over NATS, and --against asks over HTTP; leave one of them out")
	case o.against == "" && !slices.Contains(benchClients, o.client):
		return wrongUse("--client %q is none; there are %s", o.client, strings.Join(benchClients, ", "))
	case o.client == clientLease && o.leased() > maxLeases:
		return wrongUse("--client lease holds a lease for each key, and %d are too many; say --distribution hot, or --keys of %d at most", o.keys, maxLeases)
	case o.client == clientLease && o.cost < 1:
		return wrongUse("--client lease spends tokens, and --cost %d is none; it is at least 1", o.cost)
	case o.concurrency < 1 || o.concurrency > maxConcurrency:
		return wrongUse("--concurrency %d is out of bounds; it is 1 to %d", o.concurrency, maxConcurrency)
	case given("connections") && (o.connections < 1 || o.connections > o.concurrency):
		return wrongUse("--connections %d is out of bounds; it is 1 to %d, as many as there are checks in flight", o.connections, o.concurrency)
	case given("rate") && !(o.rate >= minRate && o.rate <= maxRate):
		return wrongUse("--rate %v is out of bounds; it is %v to %v a second", o.rate, minRate, float64(maxRate))
	case given("rounds") && (o.rounds < 1 || o.rounds > 1000):
		return wrongUse("--rounds %d is out of bounds; it is 1 to 1000", o.rounds)
	case o.warmup < 0:
		return wrongUse("--warmup %s is negative", o.warmup)
	}
	if o.against != "" {
		o.client = clientHTTP
	}
	if !given("rounds") {
		o.rounds = 1
		if o.baseline {
			o.rounds = 5
		}
	}
	if !given("connections") {
		o.connections = 1
		if o.client == clientHTTP {
			o.connections = o.concurrency
		}
	}
	if o.duration < time.Duration(o.rounds)*minRound {
		return wrongUse("--duration %s is too short for %d rounds of at least %s", o.duration, o.rounds, minRound)
	}
	return nil
}

// leased returns how many keys need a lease.
func (o *benchFlags) leased() int {
	if bench.Distribution(o.distribution) == bench.Hot {
		return 1
	}
	return o.keys
}

// Bounds of flags.
const (
	maxLeases      = 1000
	maxConcurrency = 100_000
	minRate        = 0.1
	maxRate        = 10_000_000
	minRound       = 50 * time.Millisecond
)

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

// overHTTP makes the target of --against.
func (b *benchRun) overHTTP() error {
	door := func(body []byte) (bench.Ask, error) {
		return bench.OverHTTP(b.flags.against, b.plan.Load.Keys, body, b.flags.connections, b.conn.timeout)
	}
	ask, err := door(b.body)
	if err != nil {
		return wrongUse("--against: %s", err)
	}
	look, err := door(encodeOptions(b.looking()))
	if err != nil {
		return err
	}
	if _, err := look(b.ctx, 0); err != nil {
		return err
	}
	b.plan.Target = bench.Callers{ask}
	return nil
}

// looking returns the options of a check that takes nothing.
func (b *benchRun) looking() []client.CheckOption {
	return append(slices.Clip(b.options), client.WithCost(0))
}

// overNATS makes the target of --client, and the baseline.
func (b *benchRun) overNATS() error {
	var conns []*nats.Conn
	var clients []*client.Client
	opts := []client.Option{client.WithTimeout(b.conn.timeout)}
	if b.flags.client == clientRequest {
		opts = append(opts, client.WithoutBatching())
	}
	for range b.flags.connections {
		nc, err := b.conn.dial()
		if err != nil {
			return err
		}
		b.closing = append(b.closing, nc.Close)
		c, err := client.New(nc, opts...)
		if err != nil {
			return err
		}
		conns, clients = append(conns, nc), append(clients, c)
	}
	keys := b.plan.Load.Keys
	res, err := clients[0].Check(b.ctx, keys.Name(0), b.looking()...)
	if err != nil {
		return b.unanswered(keys.Name(0), err)
	}
	echoRoot := ""
	if b.flags.baseline {
		echoRoot = bench.EchoRoot()
		reply := replyOf(&res)
		if err := b.startEcho(echoRoot, wire.AppendReply(nil, &reply)); err != nil {
			return err
		}
	}
	if b.flags.client == clientAsync {
		b.plan.Target = bench.NewAsync(conns, wire.Subject(wire.VerbCheck, ""), keys, b.body, b.conn.timeout)
		if echoRoot != "" {
			b.plan.Baseline = bench.NewAsync(conns, echoRoot, keys, b.body, b.conn.timeout)
		}
		return nil
	}
	var asks, echoes bench.Callers
	for i, c := range clients {
		ask := bench.Through(c, keys, b.options...)
		if b.flags.client == clientLease {
			if ask, err = b.leases(c); err != nil {
				return err
			}
		}
		asks = append(asks, ask)
		if echoRoot != "" {
			echoes = append(echoes, bench.Requests(conns[i], echoRoot, keys, b.conn.timeout))
		}
	}
	b.plan.Target = asks
	if echoRoot != "" {
		b.plan.Baseline = echoes
	}
	return nil
}

// leases starts a lease for each key that is asked about.
func (b *benchRun) leases(c *client.Client) (bench.Ask, error) {
	keys := b.plan.Load.Keys
	ask, giveBack, err := bench.Leased(b.ctx, c, keys, b.flags.leased(), b.flags.cost, b.limits...)
	if err != nil {
		return nil, failureOf(err)
	}
	b.closing = append(b.closing, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), b.conn.timeout)
		defer cancel()
		if err := giveBack(ctx); err != nil {
			fmt.Fprintf(b.stderr, "ratelimit: tokens of a lease are lost: %s\n", err)
		}
	})
	return ask, nil
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
