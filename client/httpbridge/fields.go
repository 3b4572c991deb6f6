package httpbridge

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/quotaworker/ratelimit/client/wire"
)

// maxField is the largest integer that a structured field can hold.
const maxField = 999_999_999_999_999

// setFields tells in headers what the reply says about its bucket. It is the
// only place that knows the IETF draft.
func setFields(h http.Header, r *wire.Reply) {
	if r.Degraded {
		h.Set("X-RateLimit-Degraded", "true")
	}
	wait := max(1, ceilSeconds(r.RetryAfterMS))
	if !r.Allowed {
		// A 0 would invite to ask again at once.
		h.Set("Retry-After", strconv.FormatInt(wait, 10))
	}
	if r.Limit <= 0 {
		return // decided without a bucket: there is nothing to tell
	}
	reset := ceilSeconds(r.ResetAfterMS)
	h.Set("X-RateLimit-Limit", strconv.FormatInt(r.Limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(r.Remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset, 10))

	name := quoteField(limitName(r))
	window := max(1, ceilSeconds(r.WindowMS))
	h.Set("RateLimit-Policy", name+";q="+fieldInt(r.Limit)+";w="+fieldInt(window))
	t := min(max(1, reset), window)
	if !r.Allowed {
		t = wait
	}
	h.Set("RateLimit", name+";r="+fieldInt(r.Remaining)+";t="+fieldInt(t))
}

// ceilSeconds rounds milliseconds up to seconds. Negative ones are 0.
func ceilSeconds(ms int64) int64 {
	if ms <= 0 {
		return 0
	}
	return (ms-1)/1000 + 1
}

func fieldInt(n int64) string {
	return strconv.FormatInt(min(max(0, n), maxField), 10)
}

// limitName is what a limit without a name is called.
func limitName(r *wire.Reply) string {
	if r.LimitName == "" {
		return "default"
	}
	return r.LimitName
}

// quoteField writes s as a String of RFC 9651, which is printable ASCII. Other
// bytes become question marks: names of limits have none, and a header must
// stay one whatever a worker replies.
func quoteField(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			b.WriteByte('?')
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
