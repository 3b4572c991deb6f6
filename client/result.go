package client

import (
	"math"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Result is the answer to one request about one key.
type Result struct {
	// Allowed reports whether the tokens were taken. A peek, a reset and a
	// refund that were carried out are always allowed.
	Allowed bool

	// Key is the key that was decided about, with the client's prefix.
	Key string

	// Limit is the capacity of the bucket, in tokens. With several limits on
	// one key this and what follows is about the one called LimitName.
	Limit int64

	// Remaining is how many whole tokens are left, from 0 to Limit.
	Remaining int64

	// RetryAfter is how long to wait before the same check would be granted
	// if nobody else asks in between, to the millisecond and rounded up. It is
	// 0 for a check that was allowed.
	RetryAfter time.Duration

	// ResetAfter is the time until the bucket is full, 0 for a full one.
	ResetAfter time.Duration

	// Window is how long an empty bucket takes to fill.
	Window time.Duration

	// Delay is how long to wait before proceeding, of a check that was allowed
	// by a limit whose algorithm is "leaky_bucket"; 0 for the others.
	Delay time.Duration

	// Policy is the name of the policy that decided, "" if none did.
	Policy string

	// LimitName is the name of the limit that denied, or else of the one with
	// the fewest tokens left.
	LimitName string

	// Limits has every limit, in the order of the policy, when there are
	// several; it is nil when there is one.
	Limits []LimitStatus

	// Source is where the decision was made, "redis" or "memory"; "deny_cache"
	// if Redis has denied it before and would again; or "policy" if the policy
	// says the same whatever was used up: then Limit and all that goes with it
	// is 0. Newer workers may know other places.
	Source string

	// Degraded is true when the decision did not come from the store that all
	// workers share, so that it is an approximation.
	Degraded bool

	// WouldDeny is true when a policy that is not enforced would have denied
	// what it allowed.
	WouldDeny bool
}

// LimitStatus is what one of several limits says. Its fields are those of
// Result.
type LimitStatus struct {
	Name       string
	Limit      int64
	Remaining  int64
	RetryAfter time.Duration // greater than 0 if this limit denies
	ResetAfter time.Duration
	Window     time.Duration
}

func resultOf(r *wire.Reply) Result {
	var limits []LimitStatus
	for i := range r.Limits {
		l := &r.Limits[i]
		limits = append(limits, LimitStatus{
			Name:       l.Name,
			Limit:      l.Limit,
			Remaining:  l.Remaining,
			RetryAfter: millis(l.RetryAfterMS),
			ResetAfter: millis(l.ResetAfterMS),
			Window:     millis(l.WindowMS),
		})
	}
	return Result{
		Allowed:    r.Allowed,
		Key:        r.Key,
		Limit:      r.Limit,
		Remaining:  r.Remaining,
		RetryAfter: millis(r.RetryAfterMS),
		ResetAfter: millis(r.ResetAfterMS),
		Window:     millis(r.WindowMS),
		Delay:      millis(r.DelayMS),
		Policy:     r.Policy,
		LimitName:  r.LimitName,
		Limits:     limits,
		Source:     r.Source,
		Degraded:   r.Degraded,
		WouldDeny:  r.WouldDeny,
	}
}

// millis is the one place where durations come in from the wire. What a
// Duration cannot hold, 292 years, becomes the longest it can.
func millis(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}
