package policy

import "iter"

// Set is the policies of one document. It is immutable and safe for concurrent
// use. The zero value has no policies.
type Set struct {
	policies  []*Policy
	overrides []*Override
	plans     []*Plan

	names      map[string]*Policy
	byKey      trie[Policy]
	overridden trie[Override]
}

// Plan is a named set of limits. It must not be changed.
type Plan struct {
	Name   string
	Limits []Limit

	used  bool
	place place
}

// Match is what a Set says about a key.
type Match struct {
	// Policy is nil if none matches. All else is empty then.
	Policy *Policy

	// Override is nil unless one changes the allowance of the policy.
	Override *Override

	// Bucket is the key of the buckets. It is the key itself, except if the
	// request asked for another policy than the one that matches the key: what
	// is used up under one is not missing under the other.
	Bucket string
}

// Allowance returns how much is allowed, which is that of the override if
// there is one. There must be a policy.
func (m *Match) Allowance() *Allowance {
	if m.Override != nil {
		return &m.Override.Allowance
	}
	return &m.Policy.Allowance
}

// Match returns the most specific policy whose pattern matches the key, which
// must be canonical. It does not allocate and visits at most MaxSteps nodes,
// in practice about as many as the key has tokens.
func (s *Set) Match(key string) Match {
	p := s.byKey.match(key)
	if p == nil {
		return Match{}
	}
	m := Match{Policy: p, Bucket: key}
	if len(s.overrides) == 0 {
		return m
	}
	if o := s.overridden.match(key); o != nil && o.applies(p) {
		m.Override = o
	}
	return m
}

// MatchNamed returns the policy of that name for the key, whatever the
// patterns say. Overrides count only if it is also the policy that matches
// the key. Without such a policy it returns false.
func (s *Set) MatchNamed(key, name string) (Match, bool) {
	p := s.names[name]
	if p == nil {
		return Match{}, false
	}
	if m := s.Match(key); m.Policy == p {
		return m, true
	}
	// No key holds a !, so this is the bucket of no other key. It is a token of
	// its own, so that what goes by the first tokens of a key, as the slots of
	// Redis Cluster do, is the same.
	return Match{Policy: p, Bucket: key + ".!" + name}, true
}

// Named returns the policy of that name, nil if there is none.
func (s *Set) Named(name string) *Policy { return s.names[name] }

// Len returns the number of policies.
func (s *Set) Len() int { return len(s.policies) }

// Policies returns the policies in the order of the document.
func (s *Set) Policies() iter.Seq[*Policy] {
	return func(yield func(*Policy) bool) {
		for _, p := range s.policies {
			if !yield(p) {
				return
			}
		}
	}
}

// Overrides returns the overrides in the order of the document.
func (s *Set) Overrides() iter.Seq[*Override] {
	return func(yield func(*Override) bool) {
		for _, o := range s.overrides {
			if !yield(o) {
				return
			}
		}
	}
}
