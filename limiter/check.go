package limiter

import (
	"errors"
	"fmt"
	"time"
)

// Op is what a check does to its buckets.
type Op uint8

const (
	// Take takes the cost from every bucket, or nothing from any. A cost of
	// 0 only looks: it is always granted and never writes.
	Take Op = iota

	// Refund gives the cost back to every bucket. What does not fit into a
	// bucket is lost: a refund never makes a bucket more than full.
	Refund

	// Reset fills every bucket. The cost is not used.
	Reset

	// Look answers as Take would, and takes nothing.
	Look

	// Undo gives back what a Take has taken at Demand.Taken, without granting
	// a token more than if that Take had never been: what has flowed into a
	// bucket since then is not given twice, and a window that is over gets
	// nothing back. It is for stores that take from several places in turn.
	Undo
)

// MaxDemands bounds the demands of one check.
const MaxDemands = 16

// Demand asks one bucket, that of Key under Rule, for Cost tokens.
type Demand struct {
	// Key is the canonical form of the key. The limiter compares keys byte
	// for byte and does not interpret them.
	Key string

	// Rule must not be nil.
	Rule *Rule

	// Cost is in tokens, from 0 to the burst of the rule.
	Cost int64

	// Taken is, of an Undo, the Result.At of the Take. The others ignore it.
	Taken int64
}

// Check is one question: may all of these demands be met, now? Either every
// bucket is charged or none is.
type Check struct {
	Op      Op
	Demands []Demand

	// OnOutage says what to answer while the shared store does not decide. It
	// is for package failover; stores do not look at it.
	OnOutage Outage
}

// Outage is what to answer when the shared store does not decide. It is about
// taking tokens: a look, a refund and a reset go to the second store always.
type Outage uint8

const (
	// OutageMemory lets the second store decide.
	OutageMemory Outage = iota

	// OutageAllow grants the check without deciding: fail open.
	OutageAllow

	// OutageDeny denies the check without deciding: fail closed.
	OutageDeny
)

// Taking reports whether the check asks for tokens.
func (c *Check) Taking() bool {
	if c.Op != Take {
		return false
	}
	for i := range c.Demands {
		if c.Demands[i].Cost > 0 {
			return true
		}
	}
	return false
}

// Errors of a check that cannot be put to a store.
var (
	// ErrInvalidCheck is returned when a check has no demands or too many,
	// two demands on one bucket, no rule, or a negative cost.
	ErrInvalidCheck = errors.New("invalid check")

	// ErrCostExceedsBurst is returned when a demand asks for more than a full
	// bucket holds. No waiting helps, so it is not a denial.
	ErrCostExceedsBurst = errors.New("cost exceeds burst")
)

// Validate says why a store would refuse the check. It must be called before
// the check is handed to a store together with others, because a store
// refuses a batch as a whole.
func (c *Check) Validate() error {
	if len(c.Demands) == 0 || len(c.Demands) > MaxDemands {
		return fmt.Errorf("%w: it has %d demands and must have 1 to %d", ErrInvalidCheck, len(c.Demands), MaxDemands)
	}
	if c.OnOutage > OutageDeny {
		return fmt.Errorf("%w: there is no outage %d", ErrInvalidCheck, c.OnOutage)
	}
	if c.Op > Undo {
		return fmt.Errorf("%w: there is no operation %d", ErrInvalidCheck, c.Op)
	}
	for i := range c.Demands {
		d := &c.Demands[i]
		switch {
		case d.Rule == nil:
			return fmt.Errorf("%w: key %q has no rule", ErrInvalidCheck, d.Key)
		case d.Cost < 0:
			return fmt.Errorf("%w: key %q has cost %d, which must not be negative", ErrInvalidCheck, d.Key, d.Cost)
		case d.Taken <= 0 && c.Op == Undo:
			return fmt.Errorf("%w: key %q has no time at which its tokens were taken", ErrInvalidCheck, d.Key)
		case d.Cost > d.Rule.limit.Burst && c.Op != Refund && c.Op != Reset:
			return fmt.Errorf("%w: cost %d is more than the burst of %d of limit %q and could never be granted; lower the cost or raise the burst", ErrCostExceedsBurst, d.Cost, d.Rule.limit.Burst, d.Rule.Name())
		}
		for j := range i {
			if e := &c.Demands[j]; e.Key == d.Key && e.Rule.Name() == d.Rule.Name() {
				return fmt.Errorf("%w: key %q is named twice with limit %q", ErrInvalidCheck, d.Key, d.Rule.Name())
			}
		}
	}
	return nil
}

// Source says where a decision was made.
type Source uint8

const (
	// SourceNone marks a result that was not decided.
	SourceNone Source = iota
	// SourceRedis is the shared store.
	SourceRedis
	// SourceMemory is the memory of one process.
	SourceMemory
	// SourcePolicy is nowhere: the answer is what was to be said without a
	// decision, see Check.OnOutage.
	SourcePolicy
	// SourceDenyCache is the memory of one process too, but of what the shared
	// store has said: a denial that is still in force.
	SourceDenyCache
)

// String returns the word that stands for the source on the wire.
func (s Source) String() string {
	switch s {
	case SourceRedis:
		return "redis"
	case SourceMemory:
		return "memory"
	case SourcePolicy:
		return "policy"
	case SourceDenyCache:
		return "deny_cache"
	}
	return "none"
}

// Shared reports whether every process that asks the store sees this
// decision, or what it follows from. An answer from elsewhere is degraded.
func (s Source) Shared() bool { return s == SourceRedis || s == SourceDenyCache }

// Level is what one bucket looks like after a check was decided.
type Level struct {
	// Admitted reports whether this bucket had the tokens. A check is
	// granted when all of its buckets had.
	Admitted bool

	// Remaining is how many whole tokens are left, from 0 to the burst.
	Remaining int64

	// RetryAfter is 0 when Admitted. Otherwise it is the shortest time,
	// rounded up to a microsecond, after which the same demand would be met
	// if nobody else asks in between.
	RetryAfter time.Duration

	// ResetAfter is the time until the bucket is full, 0 for a full one.
	ResetAfter time.Duration

	// Delay is how long to wait before proceeding, for an admitted check of
	// LeakyBucket; 0 for the others.
	Delay time.Duration
}

// Result is the answer to one check.
type Result struct {
	// Allowed reports whether the check was granted and charged. A denied
	// check has changed nothing.
	Allowed bool

	// Source is SourceNone if and only if the check was not decided.
	Source Source

	// At is when the check was decided, by the clock of the store, in
	// microseconds since the Unix epoch. It is 0 where no store decided.
	At int64

	// InTurn is true when the buckets were not decided at one moment but one
	// after the other, because the store keeps them apart: see Store.
	InTurn bool

	// Levels has an element for each demand of the check, in its order.
	// Stores append to Levels[:0], so a caller can reuse the space.
	Levels []Level

	// States are, of a denied check that was not taken in turn, what its
	// buckets were like at At, in the order of the demands, for whoever wants to
	// work out what the store would say a little later; of others they say
	// nothing. Their space is reused as well.
	States []State
}

// RetryAfter returns the time after which the whole check would be granted if
// nobody else asks in between: the longest of its levels, 0 if allowed.
func (r *Result) RetryAfter() time.Duration {
	var longest time.Duration
	for i := range r.Levels {
		longest = max(longest, r.Levels[i].RetryAfter)
	}
	return longest
}

// Delay returns how long to wait before proceeding, the longest of its levels.
func (r *Result) Delay() time.Duration {
	var longest time.Duration
	for i := range r.Levels {
		longest = max(longest, r.Levels[i].Delay)
	}
	return longest
}

// Binding returns the index of the level that decided: of a denial the one
// with the longest RetryAfter, otherwise the one that has the fewest tokens
// left. It returns 0 when there are no levels.
func (r *Result) Binding() int {
	b := 0
	for i := range r.Levels {
		l, best := &r.Levels[i], &r.Levels[b]
		if !r.Allowed && l.RetryAfter > best.RetryAfter || r.Allowed && l.Remaining < best.Remaining {
			b = i
		}
	}
	return b
}
