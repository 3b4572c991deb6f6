package httpbridge

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/quotaworker/ratelimit/client/wire"
)

// route is what the path of a request asks for.
type route struct {
	// name stands for the endpoint in metrics: one of a handful of words,
	// never a part of the path.
	name string

	// verb is empty for the health endpoints.
	verb wire.Verb

	// keyed is whether the path carries the key, even if it is empty.
	keyed bool
	key   string

	// allow lists the methods, as in the header Allow.
	allow string
}

// Endpoints that take the key from the path, by their prefix.
var keyed = []struct {
	prefix string
	route  route
}{
	{"/v1/check/", route{name: "check_key", verb: wire.VerbCheck, allow: "GET, POST"}},
	{"/v1/peek/", route{name: "peek", verb: wire.VerbPeek, allow: "GET, HEAD"}},
	{"/v1/reset/", route{name: "reset", verb: wire.VerbReset, allow: "POST"}},
	{"/v1/refund/", route{name: "refund", verb: wire.VerbRefund, allow: "POST"}},
}

// findRoute reads the path of u, which is cleaned by nobody: a ServeMux
// answers //, /./ and /../ with a redirect, and the redirect names another
// key. It returns a route with a name in any case, for the metrics.
func findRoute(u *url.URL) (route, *refusal) {
	path, ok := sentPath(u)
	if !ok || !clean(path) {
		return route{name: "other"}, &refusal{
			status:  http.StatusBadRequest,
			code:    wire.CodeInvalidRequest,
			message: `the path has an empty part, or one that is a dot or two; whatever follows the endpoint is the key, and no redirect is made to another one: put such a key into the body of POST /check, as in {"key":"..."}`,
		}
	}
	switch path {
	case "/check", "/v1/check":
		return route{name: "check", verb: wire.VerbCheck, allow: "POST"}, nil
	case "/health", "/healthz", "/readyz":
		return route{name: path[1:], allow: "GET, HEAD"}, nil
	}
	for i := range keyed {
		if key, ok := strings.CutPrefix(path, keyed[i].prefix); ok {
			r := keyed[i].route
			r.keyed, r.key = true, key
			return r, nil
		}
	}
	return route{name: "other"}, &refusal{
		status:  http.StatusNotFound,
		code:    codeNotFound,
		message: `there is no such endpoint; there are POST /check and POST /v1/check with {"key":"user_123"}, GET and POST /v1/check/{key}, GET /v1/peek/{key}, POST /v1/reset/{key}, POST /v1/refund/{key}, GET /health, GET /healthz and GET /readyz`,
	}
}

// sentPath returns the path byte for byte as it was sent. RawPath holds it
// whenever it is not the usual spelling of Path. EscapedPath alone is not
// enough: of a path that has both escapes and bytes that should have been
// escaped it makes a new spelling, and so another key.
func sentPath(u *url.URL) (string, bool) {
	if u.RawPath == "" {
		return u.EscapedPath(), true
	}
	// Something in front that changed Path alone would leave a stale RawPath.
	decoded, err := url.PathUnescape(u.RawPath)
	return u.RawPath, err == nil && decoded == u.Path
}

// clean reports whether nothing on the way would take path for another one.
// That includes %2E, which some take for a dot before they look for /../.
func clean(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return true // such as the * of OPTIONS, which is no endpoint
	}
	for {
		part, more, found := strings.Cut(rest, "/")
		switch strings.ReplaceAll(strings.ReplaceAll(part, "%2E", "."), "%2e", ".") {
		case ".", "..":
			return false
		case "":
			if found {
				return false
			}
		}
		if !found {
			return true
		}
		rest = more
	}
}
