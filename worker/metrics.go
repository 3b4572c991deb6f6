package worker

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// metrics are those of one worker:
//
//	ratelimit_checks_total{verb,result,source}   result: allowed, denied, error
//	ratelimit_check_duration_seconds{verb}       of decided checks, arrival to reply
//	ratelimit_would_deny_total                   allowed, because the policy is not enforced
//	ratelimit_inflight_checks                    accepted and not yet answered
//	ratelimit_shed_total{reason}                 dropped without being decided
//	ratelimit_errors_total{code}                 error replies
//	ratelimit_nats_errors_total{kind}            what the connection reported
//	ratelimit_build_info{version,goversion}      1
//
// No label holds anything that a caller chooses. Everything that a decided
// check touches is looked up beforehand.
type metrics struct {
	collectors []prometheus.Collector
	verbs      map[wire.Verb]*verbMetrics
	errors     *prometheus.CounterVec
	wouldDeny  prometheus.Counter
	shed       struct{ overloaded, deadline, noReply, badReply prometheus.Counter }
	nats       struct{ slowConsumer, permission, publish, other prometheus.Counter }
}

// verbMetrics are those of one verb.
type verbMetrics struct {
	allowed, denied []prometheus.Counter // by limiter.Source
	failed          prometheus.Counter
	duration        prometheus.Observer
}

var codes = []wire.Code{
	wire.CodeInvalidKey, wire.CodeInvalidRequest, wire.CodeCostExceedsBurst, wire.CodeLimitNotRepresentable,
	wire.CodeUnknownPolicy, wire.CodeNoPolicy, wire.CodeInlineLimitRefused, wire.CodeDeadlineExceeded,
	wire.CodeOverloaded, wire.CodeUnavailable,
}

func newMetrics(f *flight, version string) *metrics {
	m := &metrics{verbs: make(map[wire.Verb]*verbMetrics)}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.collectors = append(m.collectors, v)
		return v
	}
	checks := counter("ratelimit_checks_total", "Checks that were answered, by verb, result and where the decision was made.", "verb", "result", "source")
	m.errors = counter("ratelimit_errors_total", "Error replies, by code.", "code")
	m.wouldDeny = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ratelimit_would_deny_total",
		Help: "Checks that were allowed because their policy is not enforced, and would have been denied otherwise.",
	})
	m.collectors = append(m.collectors, m.wouldDeny)
	shed := counter("ratelimit_shed_total", "Checks that were dropped without being decided, by reason.", "reason")
	nats := counter("ratelimit_nats_errors_total", "Errors that the NATS connection reported, by kind.", "kind")
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            "ratelimit_check_duration_seconds",
		Help:                            "Time from the arrival of a check to its reply.",
		Buckets:                         []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"verb"})
	inflight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ratelimit_inflight_checks",
		Help: "Checks that were accepted and not yet answered.",
	}, func() float64 { return float64(f.count()) })
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "ratelimit_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.collectors = append(m.collectors, duration, inflight, build)

	for _, v := range verbs {
		vm := &verbMetrics{
			failed:   checks.WithLabelValues(string(v.verb), "error", limiter.SourceNone.String()),
			duration: duration.WithLabelValues(string(v.verb)),
		}
		// What is decided has a source, so SourceNone gets no counter of its
		// own. The sources end where they have no names any more.
		none := limiter.SourceNone
		vm.allowed, vm.denied = []prometheus.Counter{vm.failed}, []prometheus.Counter{vm.failed}
		for s := none + 1; s.String() != none.String(); s++ {
			vm.allowed = append(vm.allowed, checks.WithLabelValues(string(v.verb), "allowed", s.String()))
			vm.denied = append(vm.denied, checks.WithLabelValues(string(v.verb), "denied", s.String()))
		}
		m.verbs[v.verb] = vm
	}
	for _, c := range codes {
		m.errors.WithLabelValues(string(c)) // so that it is there, at 0, before the first one
	}
	m.shed.overloaded = shed.WithLabelValues("overloaded")
	m.shed.deadline = shed.WithLabelValues("deadline")
	m.shed.noReply = shed.WithLabelValues("no_reply_subject")
	m.shed.badReply = shed.WithLabelValues("refused_reply_subject")
	m.nats.slowConsumer = nats.WithLabelValues("slow_consumer")
	m.nats.permission = nats.WithLabelValues("permission")
	m.nats.publish = nats.WithLabelValues("publish")
	m.nats.other = nats.WithLabelValues("other")
	return m
}

// decided counts a check that was decided.
func (m *verbMetrics) decided(allowed bool, source limiter.Source, took time.Duration) {
	by := m.denied
	if allowed {
		by = m.allowed
	}
	by[source].Inc()
	m.duration.Observe(took.Seconds())
}

// register registers all metrics, or none.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for i, c := range m.collectors {
		if err := r.Register(c); err != nil {
			for _, c := range m.collectors[:i] {
				r.Unregister(c)
			}
			return fmt.Errorf("cannot register the metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.collectors {
		r.Unregister(c)
	}
}
