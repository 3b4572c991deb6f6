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

	limits := r.Limits
	if len(limits) == 0 {
		limits = []wire.LimitReply{{Name: limitName(r), Limit: r.Limit, Remaining: r.Remaining,
			RetryAfterMS: r.RetryAfterMS, ResetAfterMS: r.ResetAfterMS, WindowMS: r.WindowMS}}
	}
	policies, states := make([]string, len(limits)), make([]string, len(limits))
	for i := range limits {
		l := &limits[i]
		name := quoteField(l.Name)
		window := max(1, ceilSeconds(l.WindowMS))
		t := min(max(1, ceilSeconds(l.ResetAfterMS)), window)
		if !r.Allowed && (l.RetryAfterMS > 0 || len(limits) == 1) {
			t = max(1, ceilSeconds(l.RetryAfterMS))
		}
		policies[i] = name + ";q=" + fieldInt(l.Limit) + ";w=" + fieldInt(window)
		states[i] = name + ";r=" + fieldInt(l.Remaining) + ";t=" + fieldInt(t)
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(states, ", "))
}

// violated returns the names of the limits that denied.
func violated(r *wire.Reply) []string {
	var names []string
	for i := range r.Limits {
		if r.Limits[i].RetryAfterMS > 0 {
			names = append(names, r.Limits[i].Name)
		}
	}
	if len(names) == 0 {
		return []string{limitName(r)}
	}
	return names
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

// limitName is what to call the limit that binds. A policy that decides
// without one stands for it.
func limitName(r *wire.Reply) string {
	switch {
	case r.LimitName == "" && r.Policy != "":
		return r.Policy
	case r.LimitName == "":
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
