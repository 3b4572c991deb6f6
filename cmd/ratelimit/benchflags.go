package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
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

// benchClients are those that --client may name.
var benchClients = []string{clientBatch, clientRequest, clientAsync, clientLease}

// define makes the flags.
func (o *benchFlags) define(f *pflag.FlagSet) {
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
