package httpbridge

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// quotaExceeded is the problem type that the IETF draft registers.
const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// writeReply answers a request about one key.
func writeReply(w http.ResponseWriter, r *wire.Reply) {
	setFields(w.Header(), r)
	body := wire.AppendReply(nil, r)
	if r.Allowed {
		writeJSON(w, http.StatusOK, "application/json", append(body, '\n'))
		return
	}
	detail := fmt.Sprintf("%s has %d of %d tokens left under limit %s, which is less than the check asks for", r.Key, r.Remaining, r.Limit, limitName(r))
	if r.Limit <= 0 {
		detail = r.Key + " is denied"
	}
	if r.RetryAfterMS > 0 {
		detail += "; wait " + (time.Duration(r.RetryAfterMS) * time.Millisecond).String()
	}
	writeDenial(w, detail, violated(r), body)
}

// writeReplies answers a request about several keys. What the fields of one
// bucket would say stands in the results; only the wait is common to all.
func writeReplies(w http.ResponseWriter, rs *wire.Replies) {
	var failed *wire.Error
	var denied []string
	var wait int64
	for i := range rs.Results {
		r := &rs.Results[i]
		switch {
		case r.Err != nil:
			if failed == nil {
				failed = r.Err
			}
		case !r.Allowed:
			wait = max(wait, r.RetryAfterMS)
			for _, name := range violated(r) {
				if !slices.Contains(denied, name) {
					denied = append(denied, name)
				}
			}
		}
		if r.Degraded {
			w.Header().Set("X-RateLimit-Degraded", "true")
		}
	}
	body := wire.AppendReplies(nil, rs)
	switch {
	case len(denied) > 0:
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, ceilSeconds(wait)), 10))
		writeDenial(w, "at least one of the checks was denied; the results say which", denied, body)
	case failed != nil:
		// Not all could be decided and none was denied. The results must be
		// told nevertheless: some may have been charged.
		f := refuse(failed)
		if f.retryAfter {
			w.Header().Set("Retry-After", "1")
		}
		writeJSON(w, f.status, "application/json", merge(wire.AppendError(nil, failed), body))
	default:
		writeJSON(w, http.StatusOK, "application/json", append(body, '\n'))
	}
}

// writeDenial sends a 429 whose body is a problem document and holds every
// member of answer too, so that who reads only those need not know about the
// rest. The two have no member in common.
func writeDenial(w http.ResponseWriter, detail string, violated []string, answer []byte) {
	problem := encode(struct {
		Type     string   `json:"type"`
		Title    string   `json:"title"`
		Status   int      `json:"status"`
		Detail   string   `json:"detail"`
		Violated []string `json:"violated-policies"`
	}{quotaExceeded, "Request cannot be satisfied as assigned quota has been exceeded", http.StatusTooManyRequests, detail, violated})
	writeJSON(w, http.StatusTooManyRequests, "application/problem+json", merge(problem[:len(problem)-1], answer))
}

// merge makes one JSON object of two that are not empty.
func merge(a, b []byte) []byte {
	out := make([]byte, 0, len(a)+len(b)+1)
	out = append(out, a[:len(a)-1]...)
	out = append(out, ',')
	out = append(out, b[1:]...)
	return append(out, '\n')
}
