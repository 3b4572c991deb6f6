package httpbridge

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Status is how well something works.
type Status string

const (
	// Healthy means that everything works.
	Healthy Status = "healthy"

	// Degraded means that checks are answered, but not as well as they should
	// be: without Redis, each worker decides from its own memory.
	Degraded Status = "degraded"

	// Unhealthy means that checks cannot be answered.
	Unhealthy Status = "unhealthy"
)

// Health is the document of GET /health.
type Health struct {
	// Status is that of the whole. Empty means the result of [Overall] with
	// nothing vital but "nats".
	Status Status `json:"status"`

	// Timestamp is when the facts were gathered. The zero time means now.
	Timestamp time.Time `json:"timestamp"`

	// Uptime is how many seconds the process has been up. 0 means since the
	// handler was made.
	Uptime int64 `json:"uptime"`

	// InstanceID names the process, as its logs do.
	InstanceID string `json:"instanceId"`

	// Services is what the process stands on, by name: "redis", "nats". It
	// should not be empty.
	Services map[string]ServiceHealth `json:"services"`
}

// ServiceHealth is one entry of Health.Services.
type ServiceHealth struct {
	Status Status `json:"status"`

	// Latency is how many milliseconds the last answer took, if there was one.
	Latency float64 `json:"latency,omitempty"`

	// Message says what is wrong and what it means, if something is.
	Message string `json:"message,omitempty"`
}

// Overall is the status of a whole that has these parts. It is Healthy if all
// parts are, Unhealthy if one of the vital ones is unhealthy, and otherwise
// Degraded.
func Overall(services map[string]ServiceHealth, vital ...string) Status {
	overall := Healthy
	for _, s := range services {
		if s.Status != Healthy {
			overall = Degraded
		}
	}
	for _, name := range vital {
		if services[name].Status == Unhealthy {
			return Unhealthy
		}
	}
	return overall
}

const (
	// healthTimeout is how long the facts may take to gather.
	healthTimeout = 2 * time.Second

	// healthFresh is how long they are passed on. Whoever asks more often
	// than that must not become a load on what is being asked about.
	healthFresh = time.Second
)

// HealthHandler serves GET /health, /healthz and /readyz:
//
//   - /health is the [Health] document: 200 when healthy or degraded, 503 when
//     unhealthy.
//   - /healthz is 200 as long as the process serves. It does not ask about
//     anything else, because a process that is restarted when Redis is gone
//     loses the memory it would have answered from.
//   - /readyz is 200 while checks are answered, also degraded, and 503
//     otherwise, with a line that says why.
//
// Facts are gathered at most once a second, whoever asks.
type HealthHandler struct {
	gather  func(context.Context) Health
	started time.Time

	asking chan struct{} // holds a token while somebody asks for the facts
	last   Health        // belongs to whoever put the token there
}

// NewHealthHandler returns a handler that gets its facts from gather, which
// must honor the deadline of its context and is called by one goroutine at a
// time. A nil gather has no facts but that the process is there.
func NewHealthHandler(gather func(context.Context) Health) *HealthHandler {
	if gather == nil {
		gather = func(context.Context) Health { return Health{} }
	}
	return &HealthHandler{gather: gather, started: time.Now(), asking: make(chan struct{}, 1)}
}

// ServeHTTP answers by the last part of the path, wherever it is mounted.
func (h *HealthHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		errMethod("GET, HEAD").write(w)
		return
	}
	switch path := r.URL.Path; path[strings.LastIndexByte(path, '/')+1:] {
	case "health":
		doc := h.facts(r.Context())
		status := http.StatusOK
		if doc.Status == Unhealthy {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, "application/json", encode(doc))
	case "healthz":
		writeText(w, http.StatusOK, "ok\n")
	case "readyz":
		doc := h.facts(r.Context())
		if doc.Status == Unhealthy {
			writeText(w, http.StatusServiceUnavailable, "not ready"+reasons(&doc))
			return
		}
		writeText(w, http.StatusOK, "ready"+reasons(&doc))
	default:
		(&refusal{
			status:  http.StatusNotFound,
			code:    codeNotFound,
			message: "there is no such endpoint; there are GET /health, GET /healthz and GET /readyz",
		}).write(w)
	}
}

// facts returns the last facts if they are fresh, and otherwise new ones.
func (h *HealthHandler) facts(ctx context.Context) Health {
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
	case <-ctx.Done():
		return h.complete(Health{Status: Unhealthy}) // nobody is waiting for it any more
	}
	if age := time.Since(h.last.Timestamp); age < healthFresh && age >= 0 {
		return h.last
	}
	// Not with ctx as it is: others wait for the same facts, and they would
	// be told of a failure that is only this caller's impatience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	h.last = h.complete(h.gather(ctx))
	return h.last
}

func (h *HealthHandler) complete(doc Health) Health {
	if doc.Services == nil {
		doc.Services = map[string]ServiceHealth{} // {} rather than null
	}
	if doc.Status == "" {
		doc.Status = Overall(doc.Services, "nats")
	}
	if doc.Timestamp.IsZero() {
		doc.Timestamp = time.Now()
	}
	doc.Timestamp = doc.Timestamp.UTC().Truncate(time.Millisecond)
	if doc.Uptime == 0 {
		doc.Uptime = int64(time.Since(h.started) / time.Second)
	}
	return doc
}

// reasons says what is not healthy, one line each.
func reasons(doc *Health) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
		s := doc.Services[name]
		if s.Status == Healthy {
			continue
		}
		b.WriteString(name + " is " + string(s.Status))
		if s.Message != "" {
			b.WriteString(": " + s.Message)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func writeText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
