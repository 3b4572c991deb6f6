package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"

	"github.com/nats-io/nats.go/micro"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// ServiceName is the name of the service, as `nats micro ls` shows it.
const ServiceName = "ratelimit"

// Bounds of what a subscription holds until its handler gets to it. The
// handler never waits, so what lies beyond them could not be answered in time
// anyway; nats.go drops it and reports a slow consumer.
const (
	pendingMessages = 4096
	pendingBytes    = 8 << 20
)

// endpoint handles the messages of one subject.
type endpoint struct {
	worker  *Worker
	verb    wire.Verb
	op      limiter.Op
	metrics *verbMetrics

	// What was answered here, for the statistics of the service.
	allowed, denied, failed, degraded atomic.Uint64
}

// Status says what decides the checks.
type Status struct {
	// Backend is the store that is meant to decide, such as "redis".
	Backend string `json:"backend,omitempty"`
	// Breaker is the state of the circuit breaker before it: "closed" when
	// the backend decides, "open" or "half-open" when it may not.
	Breaker string `json:"breaker,omitempty"`
	// LatencyMS is how many milliseconds the backend took to answer when it
	// was last probed.
	LatencyMS float64 `json:"latency_ms,omitempty"`
	// Policies is how many policies are in force, of the version that
	// PoliciesRevision names.
	Policies         int    `json:"policies,omitempty"`
	PoliciesRevision string `json:"policies_revision,omitempty"`
	// PoliciesError says why a later version of them is not in force.
	PoliciesError string `json:"policies_error,omitempty"`
}

// endpointStats is the data of an endpoint in the statistics of the service.
type endpointStats struct {
	Status
	Allowed  uint64 `json:"allowed"`
	Denied   uint64 `json:"denied"`
	Errors   uint64 `json:"errors"`
	Degraded uint64 `json:"degraded"`
	Inflight int64  `json:"inflight"`
}

// verbs says what there is. The texts are for people who look at the service;
// their tools cut what is longer than aboutLength.
var verbs = []struct {
	verb   wire.Verb
	op     limiter.Op
	does   string
	fields string // that a request can have beside its key, as an example
}{
	{wire.VerbCheck, limiter.Take, "takes all the tokens that are asked for, or none", `"rate":5,"interval":"1s","cost":1`},
	{wire.VerbPeek, limiter.Take, "looks and takes nothing", `"rate":5,"interval":"1s"`},
	{wire.VerbReset, limiter.Reset, "fills the buckets of the key", `"rate":5,"interval":"1s"`},
	{wire.VerbRefund, limiter.Refund, "gives tokens back, at most until the bucket is full", `"rate":5,"interval":"1s","cost":1`},
}

const (
	aboutLength  = 64
	exampleMany  = `{"checks":[{"key":"user.42"},{"key":"ip.10%2E0%2E0%2E1"}]}`
	exampleReply = `{"allowed":true,"key":"user.42","limit":5,"remaining":4,"retry_after_ms":0,"reset_after_ms":200,"window_ms":1000,"limit_name":"inline","source":"redis","degraded":false}`
)

// route is a subject, what handles it, and what people are told about it.
type route struct {
	name    string
	subject string
	meta    map[string]string
	handler *endpoint
}

// routes returns two routes for each verb. Both share the metrics of the
// verb, but have statistics of their own. The plain name goes to the subject
// without wildcard, because tools that send a request to a named endpoint
// send it to its subject as it stands.
func (w *Worker) routes() []route {
	var all []route
	for _, v := range verbs {
		m := w.metrics.verbs[v.verb]
		add := func(name, subject, key, example string) {
			all = append(all, route{name, subject, map[string]string{
				"description":  v.does,
				"key":          key,
				"request":      example,
				"request_many": exampleMany,
				"response":     exampleReply,
			}, &endpoint{worker: w, verb: v.verb, op: v.op, metrics: m}})
		}
		add(string(v.verb), wire.Subject(v.verb, ""),
			"in the body", `{"key":"user.42",`+v.fields+`}`)
		add(string(v.verb)+"-key", wire.Subject(v.verb, ">"),
			"the rest of the subject; of many keys, their prefix", `{`+v.fields+`}, or nothing`)
	}
	return all
}

// serve adds the service and its endpoints.
func (w *Worker) serve(o *Options) error {
	meta := map[string]string{"queue_group": wire.QueueGroup}
	maps.Copy(meta, o.Metadata)
	if o.Instance != "" {
		meta["instance"] = o.Instance
	}
	routes := w.routes()
	svc, err := micro.AddService(w.nc, micro.Config{
		Name:        ServiceName,
		Version:     o.Version,
		Description: "May this key do this now? Token buckets over NATS.",
		Metadata:    meta,
		QueueGroup:  wire.QueueGroup,
		StatsHandler: func(me *micro.Endpoint) any {
			for _, r := range routes {
				if r.subject == me.Subject {
					return r.handler.stats()
				}
			}
			return nil
		},
	})
	if errors.Is(err, micro.ErrConfigValidation) {
		return fmt.Errorf("version %q is not a semantic version such as 1.2.3", o.Version)
	}
	if err != nil {
		return fmt.Errorf("cannot add the service to the NATS connection: %w", err)
	}
	w.svc = svc
	for _, r := range routes {
		err := svc.AddEndpoint(r.name, r.handler,
			micro.WithEndpointSubject(r.subject),
			micro.WithEndpointMetadata(r.meta),
			micro.WithEndpointPendingLimits(pendingMessages, pendingBytes))
		if err != nil {
			svc.Stop()
			return fmt.Errorf("cannot subscribe to %q: %w", r.subject, err)
		}
	}
	if w.nc.IsConnected() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := w.nc.FlushWithContext(ctx); err != nil {
			svc.Stop()
			return fmt.Errorf("the NATS server did not confirm the subscriptions within %s: %w", flushTimeout, err)
		}
	}
	return nil
}

func (e *endpoint) stats() endpointStats {
	return endpointStats{
		Status:   e.worker.status(),
		Allowed:  e.allowed.Load(),
		Denied:   e.denied.Load(),
		Errors:   e.failed.Load(),
		Degraded: e.degraded.Load(),
		Inflight: e.worker.flight.count(),
	}
}
