package httpbridge

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/quotaworker/ratelimit/client/wire"
)

// readRequest turns an HTTP request into one of the service. The key of a
// keyed route is valid when there is no refusal.
func readRequest(w http.ResponseWriter, r *http.Request, rt *route) (wire.Request, *refusal) {
	body, f := readBody(w, r)
	if f != nil {
		return wire.Request{}, f
	}
	query := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case query && len(body) > 0:
		return wire.Request{}, invalid("a %s has no body here; put rate, interval, burst and cost into the query, or use POST", r.Method)
	case query:
		if body, f = bodyOfQuery(r.URL.RawQuery); f != nil {
			return wire.Request{}, f
		}
	case r.URL.RawQuery != "":
		return wire.Request{}, invalid(`a POST takes no query; put rate, interval, burst and cost into the body, as in {"rate":5,"interval":"1s"}`)
	}
	req, err := wire.DecodeRequest(body)
	if err != nil {
		return wire.Request{}, refuse(wireError(err))
	}
	if hasTimeout(&req) {
		return wire.Request{}, invalid("timeout_ms has no effect over HTTP; leave it out, and stop waiting when you want to")
	}
	if !rt.keyed {
		if req.Key == "" && len(req.Checks) == 0 {
			return wire.Request{}, refuse(wire.Errorf(wire.CodeInvalidKey, `the body names no key; name who is limited, as in {"key":"user_123","rate":5,"interval":"1s"}`))
		}
		return req, nil
	}
	if req.Key != "" || len(req.Checks) > 0 {
		return wire.Request{}, invalid("the key stands in the path already; leave key and checks out of the body, or use POST /check")
	}
	if err := wire.CheckKey(rt.key); err != nil {
		return wire.Request{}, refuse(wireError(err))
	}
	req.Key = rt.key
	return req, nil
}

// hasTimeout reports whether a check says how long its caller waits. Here the
// bridge is the caller.
func hasTimeout(r *wire.Request) bool {
	return r.TimeoutMS > 0 || slices.ContainsFunc(r.Checks, func(c wire.Request) bool { return c.TimeoutMS > 0 })
}

// checkLength refuses a body that does not say how long it is. Servers do not
// agree on where a request ends that has a Transfer-Encoding, perhaps next to
// a Content-Length, and what one of them takes for the next request was sent
// past whatever stands in front of the bridge.
func checkLength(r *http.Request) *refusal {
	if len(r.TransferEncoding) == 0 && r.ContentLength >= 0 {
		return nil
	}
	return &refusal{
		status:  http.StatusLengthRequired,
		code:    codeLengthRequired,
		message: "the body must come with a Content-Length and without a Transfer-Encoding",
		close:   true,
	}
}

// readBody reads the body whole. Its length is known.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	if r.ContentLength > wire.MaxRequest {
		return nil, errTooLarge()
	}
	if r.ContentLength > 0 {
		if f := checkMediaType(r.Header); f != nil {
			return nil, f
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxRequest))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, errTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{
			status:  http.StatusRequestTimeout,
			code:    codeRequestTimeout,
			message: "the body did not arrive in time; send the request again",
			close:   true,
		}
	}
	f := invalid("the body could not be read to the end that Content-Length promised")
	f.close = true
	return nil, f
}

// checkMediaType refuses a body that is not said to be JSON, or that would
// have to be decoded first. What is absent is given the benefit of the doubt,
// and so is the form type, which curl -d sends.
func checkMediaType(h http.Header) *refusal {
	f := &refusal{
		status:  http.StatusUnsupportedMediaType,
		code:    codeMediaType,
		message: "the body must be JSON in UTF-8, with Content-Type: application/json and no Content-Encoding",
	}
	if len(h.Values("Content-Encoding")) > 0 {
		return f
	}
	types := h.Values("Content-Type")
	if len(types) == 0 {
		return nil
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || len(types) > 1 {
		return f
	}
	if media != "application/json" && media != "application/x-www-form-urlencoded" {
		return f
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return f
	}
	return nil
}

// bodyOfQuery writes a query as the body that says the same, so that both are
// read by one set of rules.
func bodyOfQuery(raw string) ([]byte, *refusal) {
	if raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("the query cannot be read; write it as in ?rate=5&interval=1s")
	}
	var fields []string
	for _, name := range []string{"rate", "interval", "burst", "cost"} {
		values, ok := query[name]
		if !ok {
			continue
		}
		delete(query, name)
		value := values[0]
		switch {
		case len(values) > 1:
			return nil, invalid("%s stands %d times in the query; give it once", name, len(values))
		case name == "interval":
			// Bytes that are not UTF-8 come out as U+FFFD, which is part of
			// no duration.
			value = strings.TrimSuffix(string(encode(value)), "\n")
		case !digits(value):
			return nil, invalid("%s: %s is not an integer in decimal digits, as in %s=5", name, strconv.QuoteToASCII(clip(value)), name)
		}
		fields = append(fields, strconv.Quote(name)+":"+value)
	}
	for name := range query {
		return nil, invalid("unknown query parameter %s; there are rate, interval, burst and cost", strconv.QuoteToASCII(clip(name)))
	}
	return []byte("{" + strings.Join(fields, ",") + "}"), nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// clip shortens what a message quotes of its input.
func clip(s string) string { return s[:min(len(s), 64)] }

// fromOtherSite reports whether a browser sent the request on behalf of a web
// page that the bridge did not serve. Such a page cannot read the answer, but
// it could spend the tokens of whoever it likes, also at a bridge that listens
// on loopback only.
func fromOtherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return false // not a browser
		}
		u, err := url.Parse(origin)
		return err != nil || !strings.EqualFold(u.Host, r.Host)
	}
	return true
}

func invalid(format string, args ...any) *refusal {
	return refuse(&wire.Error{Code: wire.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)})
}

func errTooLarge() *refusal {
	return &refusal{
		status:  http.StatusRequestEntityTooLarge,
		code:    codeTooLarge,
		message: fmt.Sprintf("the body must have at most %d bytes; send several requests", wire.MaxRequest),
		close:   true,
	}
}

// wireError returns the error of the protocol that err is.
func wireError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.Errorf(wire.CodeInvalidRequest, "%s", err)
}
