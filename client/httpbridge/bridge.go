package httpbridge

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Options configure a [Bridge]. The zero value is meant for use.
type Options struct {
	// Admin opens the endpoints that change what has been counted: reset and
	// refund. Whoever can reach the bridge can then lift every limit, so they
	// are closed unless it is true.
	Admin bool

	// MaxInFlight bounds the requests that wait for an answer of the service.
	// One more is answered with 503 at once. 0 means 1024.
	MaxInFlight int

	// Timeout bounds the wait for an answer of the service; then the caller
	// gets a 504. 0 means 1 s.
	Timeout time.Duration

	// Health gathers the facts of GET /health, see [NewHealthHandler].
	Health func(context.Context) Health

	// Registerer takes the metrics, which begin with ratelimit_http_. With
	// nil they are not exported.
	Registerer prometheus.Registerer

	// Logger hears when checks begin to fail and when they work again. Nil
	// means nobody.
	Logger *slog.Logger
}

// Bridge answers HTTP requests by asking the service. It is safe for
// concurrent use, starts no goroutine and needs no closing.
type Bridge struct {
	checker Checker
	health  *HealthHandler
	metrics *metrics
	log     *slog.Logger

	admin    bool
	timeout  time.Duration
	inFlight atomic.Int64
	max      int64

	failing atomic.Bool // the last check could not be put to the service
}

// New returns a Bridge that asks c.
func New(c Checker, o Options) *Bridge {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Bridge{
		checker: c,
		health:  NewHealthHandler(o.Health),
		metrics: newMetrics(o.Registerer, log),
		log:     log,
		admin:   o.Admin,
		timeout: cmp.Or(o.Timeout, time.Second),
		max:     int64(cmp.Or(o.MaxInFlight, 1024)),
	}
}

// Health returns the handler of /health, /healthz and /readyz, so that another
// listener can serve them too.
func (b *Bridge) Health() *HealthHandler { return b.health }

// ServeHTTP answers one request.
func (b *Bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	sw := &statusWriter{ResponseWriter: w}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if id := requestID(r.Header); id != "" {
		h.Set("X-Request-Id", id)
	}
	rt, f := findRoute(r.URL)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p) // net/http's own way to break a response off
			}
			b.log.Error("a request made the HTTP bridge panic", "endpoint", rt.name, "panic", p)
			if sw.status == 0 {
				(&refusal{status: http.StatusInternalServerError, code: codeInternal, message: "the bridge failed on this request; its log says more", close: true}).write(sw)
			}
		}
		b.metrics.observe(rt.name, sw.status, start)
	}()
	if g := checkLength(r); g != nil {
		f = g // also where nothing would read the body
	}
	if f == nil {
		f = b.serve(sw, r, &rt)
	}
	if f != nil {
		f.write(sw)
	}
}

// serve answers the request or returns why not.
func (b *Bridge) serve(w *statusWriter, r *http.Request, rt *route) *refusal {
	if !allowed(r.Method, rt.allow) {
		return errMethod(rt.allow)
	}
	if rt.verb == "" {
		b.health.ServeHTTP(w, r)
		return nil
	}
	if fromOtherSite(r) {
		return &refusal{
			status:  http.StatusForbidden,
			code:    codeForbidden,
			message: "a web page of another site may not call the rate limiter from a browser; call it from a server",
		}
	}
	if (rt.verb == wire.VerbReset || rt.verb == wire.VerbRefund) && !b.admin {
		return &refusal{
			status:  http.StatusForbidden,
			code:    codeForbidden,
			message: "this bridge does not " + string(rt.verb) + ", because whoever reaches it could lift every limit; its operator can allow it with RATELIMIT_HTTP_ADMIN=true",
		}
	}
	req, f := readRequest(w, r, rt)
	if f != nil {
		return f
	}
	if b.inFlight.Add(1) > b.max {
		b.inFlight.Add(-1)
		return refuse(wire.Errorf(wire.CodeOverloaded, "the bridge waits for as many answers as it may; try again in a second, or run more bridges"))
	}
	b.metrics.inFlight.Inc()
	defer func() {
		b.inFlight.Add(-1)
		b.metrics.inFlight.Dec()
	}()
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	if len(req.Checks) > 0 {
		replies, err := askEach(ctx, b.checker, &req)
		if err != nil {
			return b.failed(w, r, err)
		}
		b.worked()
		writeReplies(w, &replies)
		return nil
	}
	reply, err := ask(ctx, b.checker, rt.verb, &req)
	if err != nil {
		return b.failed(w, r, err)
	}
	b.worked()
	writeReply(w, &reply)
	return nil
}

// statusGone counts a request whose caller left before the answer.
const statusGone = 499

// failed makes a refusal of an error of the checker. It logs when the service
// cannot be reached, but only once until it is back: an outage must not flood
// the log with one line for each request.
func (b *Bridge) failed(w *statusWriter, r *http.Request, err error) *refusal {
	if r.Context().Err() != nil {
		// Most likely there is nobody to tell. But a caller that has only
		// closed its own side looks the same, and saying nothing is a 200.
		w.status = statusGone
		return refuse(wire.Errorf(wire.CodeDeadlineExceeded, "the connection was closed before there was an answer; keep it open until then; the check may have been charged"))
	}
	e, answered := serviceError(err)
	if !answered && b.failing.CompareAndSwap(false, true) {
		b.log.Error("checks fail: the service does not answer", "err", err)
	}
	return refuse(e)
}

func (b *Bridge) worked() {
	if b.failing.Load() && b.failing.CompareAndSwap(true, false) {
		b.log.Info("checks work again")
	}
}

// allowed reports whether method is one of those in list, as in "GET, POST".
func allowed(method, list string) bool {
	return slices.Contains(strings.Split(list, ", "), method)
}

func errMethod(allow string) *refusal {
	return &refusal{
		status:  http.StatusMethodNotAllowed,
		code:    codeMethodNotAllowed,
		message: "the method is not one of this endpoint; use " + allow,
		allow:   allow,
	}
}

// requestID returns the caller's name for its request if it is fit to be
// repeated: short, and of characters that mean nothing anywhere.
func requestID(h http.Header) string {
	ids := h["X-Request-Id"]
	if len(ids) != 1 || len(ids[0]) > 64 {
		return ""
	}
	for _, c := range []byte(ids[0]) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return ""
		}
	}
	return ids[0]
}
