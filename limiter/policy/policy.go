package policy

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/quotaworker/ratelimit/limiter"
)

// MaxLimits bounds the limits of one policy or plan.
const MaxLimits = limiter.MaxDemands

// MaxNameLength bounds the names of policies and plans, in bytes.
const MaxNameLength = 64

// Policy says who is limited, by how much and how strictly. It must not be
// changed.
type Policy struct {
	// Name tells the policy from the others of its set. It is the pattern if
	// the document gives no name.
	Name string

	// Pattern is empty for a policy that applies only by name.
	Pattern string

	// Allowance is how much, unless an override replaces it.
	Allowance

	// OnOutage is what happens without the shared store.
	OnOutage OnOutage

	// Mode is how strictly a denial is meant. See Enforced.
	Mode Mode

	// EnforcePercent is for how many of 100 keys the mode enforce holds.
	EnforcePercent int

	place place
}

// Allowance is how much is allowed: unlimited, nothing, or what the limits
// allow. Exactly one of Unlimited, Deny and Limits is set.
type Allowance struct {
	// Plan is the name of the plan that the limits come from, empty if they
	// do not come from one.
	Plan string

	// Limits hold all together, in the order of the document.
	Limits []Limit

	// Unlimited allows everything, without counting it.
	Unlimited bool

	// Deny allows nothing, ever.
	Deny bool
}

// Limit is one limit of an allowance.
type Limit struct {
	// Rule is compiled and never nil. Its name is unique in the allowance.
	Rule *limiter.Rule

	// Cost is what a check takes that does not say: at least 1, at most the
	// burst.
	Cost int64
}

// String writes the limit for people: "second: 10/s burst 20".
func (l Limit) String() string {
	s := l.Rule.Name() + ": " + l.terms()
	return s
}

// terms is the limit without its name.
func (l Limit) terms() string {
	limit := l.Rule.Limit()
	var b strings.Builder
	if c := limit.Calendar; c != (limiter.Calendar{}) {
		fmt.Fprintf(&b, "%d per calendar %s", limit.Rate, c.Period)
		if c.Zone != "" {
			fmt.Fprintf(&b, " in %s", c.Zone)
		}
		if c.AnchorDay > 1 {
			fmt.Fprintf(&b, " from day %d", c.AnchorDay)
		}
		if limit.Burst != limit.Rate {
			fmt.Fprintf(&b, " burst %d", limit.Burst)
		}
	} else {
		b.WriteString(limit.String())
	}
	if limit.Algorithm != limiter.TokenBucket {
		b.WriteString(" " + limit.Algorithm)
	}
	if l.Cost != 1 {
		fmt.Fprintf(&b, " cost %d", l.Cost)
	}
	return b.String()
}

// String writes the allowance for people: "plan free (default: 10/s)".
func (a *Allowance) String() string {
	switch {
	case a.Unlimited:
		return "unlimited"
	case a.Deny:
		return "deny"
	}
	limits := make([]string, len(a.Limits))
	for i, l := range a.Limits {
		limits[i] = l.String()
	}
	s := strings.Join(limits, ", ")
	if a.Plan != "" {
		return fmt.Sprintf("plan %s (%s)", a.Plan, s)
	}
	return s
}

// Override changes the allowance of some of the keys of policies. It must not
// be changed.
type Override struct {
	Pattern string

	// Allowance replaces that of the policy. If it is a plan, only that of a
	// policy which has a plan.
	Allowance

	place place
}

// applies reports whether the override changes the allowance of p.
func (o *Override) applies(p *Policy) bool { return o.Plan == "" || p.Plan != "" }

// OnOutage is what a policy wants when the shared store cannot be asked.
type OnOutage uint8

// What to do in an outage.
const (
	OutageMemory OnOutage = iota // decide from the memory of the worker
	OutageAllow                  // allow without deciding: fail open
	OutageDeny                   // deny without deciding: fail closed
)

var outages = []string{"memory", "allow", "deny"}

// String returns the word that stands for o in a document.
func (o OnOutage) String() string { return outages[o] }

// Mode is how strictly a policy is meant.
type Mode uint8

// Modes of a policy.
const (
	Enforce Mode = iota // what is denied is denied
	Shadow              // decide, charge and report, but allow
	Off                 // allow without deciding
)

var modes = []string{"enforce", "shadow", "off"}

// String returns the word that stands for m in a document.
func (m Mode) String() string { return modes[m] }

// Enforced reports whether a denial of key is to be a denial: the mode is
// enforce, and the key is among the EnforcePercent of all keys. For the same
// percentage it is always the same keys, in every process and version, and for
// a higher one it is those and others. A key that is not enforced is treated
// as in the mode shadow, unless the mode is Off.
func (p *Policy) Enforced(key string) bool {
	if p.Mode != Enforce || p.EnforcePercent >= 100 {
		return p.Mode == Enforce
	}
	// The hash, as a fraction of 2^64, times a hundred.
	percentile, _ := bits.Mul64(xxhash.Sum64String(key), 100)
	return int64(percentile) < int64(p.EnforcePercent)
}
