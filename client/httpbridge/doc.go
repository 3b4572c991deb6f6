// Package httpbridge is the HTTP front door of the rate limiter, for callers
// that do not speak NATS. It decides nothing: a [Bridge] is a client of the
// service like any other, and an [net/http.Handler] that a program may mount
// beside its own.
//
// # Endpoints
//
//	POST /check              {"key":"user_123","rate":5,"interval":"1s"}
//	POST /v1/check           the same; or several: {"checks":[{...},{...}]}, to
//	                         grant all or none with "mode":"all"
//	GET  /v1/check/{key}     ?rate=5&interval=1s&burst=10&cost=2, all optional
//	POST /v1/check/{key}     {"rate":5,"interval":"1s"}, or no body
//	GET  /v1/peek/{key}      the same query; takes nothing
//	POST /v1/reset/{key}     fills the bucket; only with Options.Admin
//	POST /v1/refund/{key}    {"cost":2} gives back; only with Options.Admin
//	GET  /health             the state of the service and what it stands on
//	GET  /healthz            200 while the process serves
//	GET  /readyz             200 while checks can be answered
//
// The body is exactly that of a NATS request and read as strictly: unknown or
// repeated fields are refused. The same holds for the query of a GET.
//
// # Answers
//
// 200 means that the check was granted and 429 that it was denied; both say
// how things stand in the body and in the headers:
//
//	X-RateLimit-Limit        tokens that a full bucket holds
//	X-RateLimit-Remaining    whole tokens left
//	X-RateLimit-Reset        seconds until the bucket is full, rounded up; a
//	                         number of seconds, not a point in time
//	X-RateLimit-Degraded     "true" if the answer did not come from the shared
//	                         store, and absent otherwise
//	RateLimit-Policy         "default";q=100;w=10
//	RateLimit                "default";r=50;t=5
//	Retry-After              on a denial: whole seconds, rounded up, at least 1
//
// RateLimit and RateLimit-Policy follow draft-ietf-httpapi-ratelimit-headers-11:
// one item for each limit, with its name, q its burst, w the seconds in
// which an empty bucket fills, r the whole tokens left, and t the seconds until
// the bucket is full or, on a denial, Retry-After. Milliseconds stand in the
// body, as retry_after_ms and reset_after_ms.
//
// Degradation has a header of its own because callers that see no body (a
// proxy that asks on behalf of others, a probe) must be able to tell it, while
// parameters of RateLimit belong to a draft that is still moving. The header is
// absent in normal operation, so its presence is the alarm.
//
// The body of a 429 is a problem document (RFC 9457) which holds every field
// of the answer as well, so a caller that only reads "allowed" is served by one
// rule for both.
//
// Several checks are answered with {"allowed":...,"results":[...]}, where each
// result is an answer or an error: 200 when all were granted, 429 when at least
// one was denied, with the longest wait as Retry-After, and otherwise the status
// and error of the first that could not be decided, beside the results. What
// was granted is charged in any case, unless the request says "mode":"all":
// then all checks are granted or none is. The fields of one bucket are left out.
//
// # Errors
//
// Any other status says that no decision was made. Its body is
//
//	{"error":{"code":"invalid_key","message":"what to do"}}
//
// with the codes and statuses of package wire, and these of HTTP:
//
//	400 invalid_request         an unclean path, a bad query, a broken body
//	403 forbidden               an endpoint that is switched off; a web page of
//	                            another site that calls from somebody's browser
//	404 not_found               no such endpoint
//	405 method_not_allowed      see the header Allow
//	408 request_timeout         the body did not come in time
//	411 length_required         a body without Content-Length; closes the connection
//	413 request_too_large       a body over 64 KiB
//	415 unsupported_media_type  a body that does not say it is JSON
//	503 overloaded, unavailable with Retry-After
//	504 deadline_exceeded
//
// A body may say application/json, application/x-www-form-urlencoded or
// nothing at all, and must be JSON in UTF-8 in any case. The form type is
// accepted because curl -d sends it unasked. Others are refused, text/plain
// among them: no tool sends that by itself for JSON, but a hostile web page can.
//
// # Keys in paths
//
// What follows the prefix is the key, byte for byte as it was sent and never
// decoded: %2E is a dot within a token and stays %2E, a slash is a byte of the
// key. A path with //, /./ or /../ is answered with 400; a redirect would
// charge another key. Parts of the way may rewrite paths before they arrive
// (an [net/http.ServeMux] the Bridge is mounted on redirects unclean ones,
// browsers resolve %2E%2E): keys that are not made of letters and digits travel
// more safely in the body.
//
// # Trust
//
// The bridge asks nobody for a password: listen on loopback or put it behind
// something that does. Headers such as X-Forwarded-For never make a key.
//
// [Serve] runs a handler with all the timeouts and bounds that a server on a
// network needs; a Bridge that is mounted elsewhere relies on that server's.
package httpbridge
