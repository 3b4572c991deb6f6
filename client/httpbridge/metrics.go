package httpbridge

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests. Its labels come from the routes and from the
// statuses that the bridge sends, so their number is bounded whatever callers
// ask for.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, log *slog.Logger) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ratelimit_http_requests_total",
			Help: "HTTP requests, by endpoint and status. 499 is a caller that left before the answer.",
		}, []string{"endpoint", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "ratelimit_http_request_duration_seconds",
			Help:                        "Time from the header of a request to its response, by endpoint.",
			Buckets:                     []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
			NativeHistogramBucketFactor: 1.1,
		}, []string{"endpoint"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ratelimit_http_checks_in_flight",
			Help: "Checks that wait for an answer of the service.",
		}),
	}
	if reg != nil {
		m.requests = register(reg, log, m.requests)
		m.duration = register(reg, log, m.duration)
		m.inFlight = register(reg, log, m.inFlight)
	}
	return m
}

// register registers c, or returns the like collector that is registered
// already, so that two bridges of one process share it.
func register[C prometheus.Collector](reg prometheus.Registerer, log *slog.Logger, c C) C {
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		log.Error("a metric of the HTTP bridge is not exported", "err", err)
	}
	return c
}

func (m *metrics) observe(endpoint string, status int, since time.Time) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(time.Since(since).Seconds())
}

// statusWriter remembers the status that was sent, or another one that it was
// given before to be counted in its place.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 as long as there is neither
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}
