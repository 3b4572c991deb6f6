package bench

import (
	"bytes"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// Answer is what came of one check.
type Answer struct {
	Allowed bool

	// Degraded answers come from one worker's memory.
	Degraded bool

	// Shadow answers say allowed because the policy is not enforced, and
	// would be denials otherwise.
	Shadow bool

	// Limit is the limit that the answer names. It is the zero Limit in
	// answers of no limit, and in those that were not read to the end.
	Limit Limit
}

// Limit is a limit as an answer tells it.
type Limit struct {
	Name   string
	Tokens int64         // that a full bucket holds
	Window time.Duration // that an empty one takes to fill, to the millisecond
}

// answerOf reads the answer of the Go client.
func answerOf(r *client.Result) Answer {
	return Answer{
		Allowed:  r.Allowed,
		Degraded: r.Degraded,
		Shadow:   r.WouldDeny,
		Limit:    Limit{Name: r.LimitName, Tokens: r.Limit, Window: r.Window},
	}
}

// The beginning and the end of nearly all replies. What stands between says
// how far the bucket is from empty, which only matters once for each key.
var (
	prefixAllowed = []byte(`{"allowed":true,`)
	prefixDenied  = []byte(`{"allowed":false,`)
	suffixShared  = []byte(`"degraded":false}`)
)

// read reads a reply. Unless whole is true it may leave out the limit, which
// spares what a whole reply costs to read.
func read(body []byte, whole bool) (Answer, error) {
	if !whole && bytes.HasSuffix(body, suffixShared) {
		switch {
		case bytes.HasPrefix(body, prefixAllowed):
			return Answer{Allowed: true}, nil
		case bytes.HasPrefix(body, prefixDenied):
			return Answer{}, nil
		}
	}
	r, err := wire.DecodeReply(body)
	switch {
	case err != nil:
		return Answer{}, err
	case r.Err != nil:
		return Answer{}, r.Err
	}
	return Answer{
		Allowed:  r.Allowed,
		Degraded: r.Degraded,
		Shadow:   r.WouldDeny,
		Limit:    Limit{Name: r.LimitName, Tokens: r.Limit, Window: time.Duration(r.WindowMS) * time.Millisecond},
	}, nil
}

// codeOf returns the code under which an error is counted.
func codeOf(err error) string {
	var answered *client.Error
	var refused *wire.Error
	switch {
	case errors.As(err, &answered):
		return string(answered.Code)
	case errors.As(err, &refused):
		return string(refused.Code)
	case errors.Is(err, nats.ErrTimeout):
		return string(wire.CodeDeadlineExceeded)
	}
	return string(wire.CodeUnavailable)
}
