// Package wire is the protocol that callers and workers speak over NATS:
// subjects, the spelling of keys, messages and error codes. It imports the
// standard library only.
//
// It lives under client because most copies of it are out there with the
// callers; worker takes it from here, and takes nothing else from client.
//
// # Subjects
//
// A check of the key user.42 is a request on ratelimit.check.user.42. The
// verbs check, peek, reset and refund have subjects of their own, so that NATS
// permissions can tell them apart. On ratelimit.check alone the key stands in
// the body.
//
// # Keys
//
// A key is dot-separated tokens, as in a NATS subject. A token is made of
// A-Z a-z 0-9 _ : @ / + = ~ and -; every other byte is written %XX, in upper
// case hex. Each key has exactly one spelling, so two different keys never
// share a bucket, and [KeyOf] makes that spelling from any text.
//
// # Messages
//
// Bodies are JSON; testdata has a sample of every kind, accepted and refused.
// Requests are read strictly, because a field that is silently ignored is a
// limit that silently does not hold: workers are upgraded before callers.
// Replies are read tolerantly, so that workers may add fields to them. A
// denial is a reply like any other. When nothing was decided, the reply has an
// [Error] in its body and is marked by [HeaderError] and [HeaderErrorCode].
package wire

// QueueGroup is the NATS queue group in which workers share the checks.
const QueueGroup = "ratelimit"

// Bounds of a message.
const (
	// MaxRequest bounds the body of a request, in bytes.
	MaxRequest = 64 << 10

	// MaxChecks bounds the checks of one request.
	MaxChecks = 256
)

// Headers of requests and replies. NATS headers are case-sensitive.
const (
	// HeaderTimeout carries the time that the caller is going to wait, in
	// whole milliseconds from when it sends. A worker that finds the request
	// older than that answers CodeDeadlineExceeded and charges nothing.
	HeaderTimeout = "Ratelimit-Timeout-Ms"

	// HeaderError and HeaderErrorCode mark a reply as an error, the way the
	// NATS services framework does: the code of the error and its number,
	// that of the HTTP status.
	HeaderError     = "Nats-Service-Error"
	HeaderErrorCode = "Nats-Service-Error-Code"
)

// Modes of a request with several checks.
const (
	// ModeEach decides every check on its own. It is the default.
	ModeEach = "each"

	// ModeAll grants all checks together or none of them.
	ModeAll = "all"
)

// Algorithms of an inline limit. AlgorithmTokenBucket is the default.
const (
	AlgorithmTokenBucket   = "token_bucket"
	AlgorithmLeakyBucket   = "leaky_bucket"
	AlgorithmSlidingWindow = "sliding_window"
	AlgorithmFixedWindow   = "fixed_window"
)

// Request is the body of a request. An empty body is the zero Request but for
// its Cost, which is 1.
type Request struct {
	// Key is the key when the subject does not carry it.
	Key string

	// Rate tokens flow in per interval: the inline limit of the request. 0
	// means that the request has none, and that Interval and Burst are not
	// given either.
	Rate int64

	// IntervalMicros is the interval of the inline limit in microseconds; on
	// the wire it is a Go duration such as "1s".
	IntervalMicros int64

	// Burst is the capacity of the inline limit. 0 means Rate.
	Burst int64

	// Cost is how many tokens the request takes or gives back. 0 looks
	// only. It means nothing to a peek and a reset.
	Cost int64

	// CostGiven tells a Cost of 1 that the request says from one that it does
	// not: without it, a policy may have another cost.
	CostGiven bool

	// Algorithm is the algorithm of the inline limit. Empty means
	// AlgorithmTokenBucket.
	Algorithm string

	// Policy names the policy to decide by. Empty means the one that matches
	// the key.
	Policy string

	// TimeoutMS is how many milliseconds the caller is going to wait, if that
	// is less than HeaderTimeout says; 0 means that it is not. It is there for
	// checks of several callers that travel in one message, so checks in
	// ModeAll have none.
	TimeoutMS int64

	// Checks holds several checks, of which each has a key and no checks of
	// its own. What the subject has after its verb is a prefix of all these
	// keys, see [JoinKey]. A request with checks has no other field but Mode.
	Checks []Request

	// Mode says how Checks hang together. Empty means ModeEach.
	Mode string
}

// Reply is the answer to one check. On the wire its fields are the snake_case
// of their names.
type Reply struct {
	// Allowed reports whether the tokens were taken. It is true as well for a
	// peek, a reset and a refund that were carried out.
	Allowed bool

	// Key is the key that was asked about.
	Key string

	// Limit is the capacity of the bucket that binds, in tokens.
	Limit int64

	// Remaining is how many whole tokens are left.
	Remaining int64

	// RetryAfterMS is how many milliseconds to wait before the same check
	// would be granted; 0 if it was.
	RetryAfterMS int64

	// ResetAfterMS is how many milliseconds pass until the bucket is full.
	ResetAfterMS int64

	// WindowMS is how many milliseconds an empty bucket takes to fill.
	WindowMS int64

	// DelayMS is how many milliseconds to wait before proceeding, of a check
	// that was allowed by a leaky bucket. It is left out on the wire when 0.
	DelayMS int64

	// Policy is the name of the policy that decided, if any.
	Policy string

	// LimitName is the name of the limit that denied, or else of the one with
	// the fewest tokens left.
	LimitName string

	// Limits has every limit, in the order of the policy, when there are
	// several. It is left out on the wire when there is one.
	Limits []LimitReply

	// Source is where the decision was made: "redis" or "memory"; "deny_cache"
	// when Redis has denied it before and would again; or "policy" when the
	// policy says the same whatever was used up.
	Source string

	// Degraded is true when the decision did not come from the shared store.
	Degraded bool

	// WouldDeny is true when a policy that is not enforced would have denied
	// what it allowed. It is left out on the wire when false.
	WouldDeny bool

	// Err is set in place of everything else but Key when no decision was
	// made about this check.
	Err *Error
}

// LimitReply is what one of several limits says. Its fields are those of Reply.
// A limit that denies has a RetryAfterMS.
type LimitReply struct {
	Name         string
	Limit        int64
	Remaining    int64
	RetryAfterMS int64
	ResetAfterMS int64
	WindowMS     int64
}
