// Package policy is what the operator says about who may do how much: one
// YAML document, read into a [Set] that answers for a key in less than a
// microsecond, and a [Book] that holds the set in force and is changed while
// it is read.
//
// # The document
//
//	plans:                                # named sets of limits
//	  free: 10/s burst 20
//	  pro:
//	    second: 100/s burst 200
//	    month: {rate: 1000000, algorithm: fixed_window, calendar: month, zone: Europe/Berlin}
//
//	policies:                             # who is limited, and by what
//	  - match: user.*
//	    plan: free
//	  - match: user.*.login
//	    name: login
//	    limits: 5/m
//	    on_outage: deny
//	  - match: ip.>
//	    limits: {second: 20/s, day: 50000/day}
//	    mode: shadow
//
//	overrides:                            # exceptions for some of the keys
//	  - match: user.42
//	    plan: pro
//
// It is read strictly: a field that does not exist, a field given twice and a
// value of another type are errors, and all errors are reported at once, each
// with its line. There are no anchors, aliases and tags: what is to be said
// once and used twice is a plan, or a policy that others inherit.
//
// # Patterns
//
// A pattern is written like a NATS subject over the tokens of a key: * stands
// for one token, and > as the last token for one or more. A pattern that
// begins with * or > needs quotes in YAML.
//
// Of the patterns that match a key the most specific wins, which is the one
// whose keys are all keys of the others too: user.42 over user.* over user.>.
// The order of the document plays no part. Two patterns can overlap without
// either being more specific, as tenant.acme.* and tenant.*.login do. Then it
// is an error not to have a policy for just what they share, which is
// tenant.acme.login, because otherwise one of them would silently lose.
//
// To find the winner in a document without such errors it is enough to compare
// the patterns token by token from the left, where a literal token goes before
// * and * before >.
//
// # Policies
//
// A policy says how much in one of four ways, its [Allowance]:
//
//	plan: free           the limits of a plan
//	limits: ...          limits of its own: one, or several by name
//	unlimited: true      everything is allowed and nothing counted
//	deny: true           nothing is allowed
//
// A limit is written short, as "10/s burst 20", or with the fields rate,
// interval, burst, algorithm, calendar, zone, anchor_day and cost. All limits
// of a policy, at most 16, are taken together or not at all. The cost is what
// a check takes that does not say, 1 if not given.
//
// And it says what to do with that:
//
//	name             what requests and replies call it; without it, the pattern
//	on_outage        without the shared store: memory (default), allow or deny
//	mode             enforce (default); shadow decides and reports, but allows;
//	                 off allows without deciding
//	enforce_percent  of the keys, how many are enforced; the others are in
//	                 shadow. Default 100. Raising it only adds keys.
//	inherit          the name of a policy to take all fields from that are not
//	                 given, except name and match. The four ways to say how
//	                 much count as one field: giving one replaces the other.
//
// A policy without match applies only to requests that ask for it by name, or
// is there to be inherited from.
//
// # Overrides
//
// An override changes how much, and nothing else, for the keys that it
// matches; which policy decides is found without it. Of several overrides for
// a key the most specific wins, by the same rule as for policies.
//
// With a plan it puts the key on another plan, and so applies only where the
// policy has a plan: with plan: pro for user.> above, the login limit of
// 5/m stays. With limits, unlimited or deny it replaces whatever the policy
// allows. A key that no policy matches is not affected.
//
// # Bounds
//
// A document has at most 8 MiB, and each of its entries 64 KiB; what is not
// divided into entries on lines of their own, such as JSON, has at most 1 MiB.
// A hundred thousand policies load in one to two seconds and a key is matched
// in about 300 ns, without allocating. However many * the patterns have, a
// match visits at most [MaxSteps] nodes, which takes some ten microseconds;
// documents that would need more are refused, and so is whatever else would
// make loading take more than some seconds.
//
// # Use
//
// A [Book] is read with one atomic load. Keep the set for the whole of a
// decision:
//
//	m := book.Set().Match("user.42")
//	if m.Policy == nil {
//		... // no policy: the limit of the request, or the default one
//	}
//	for _, l := range m.Allowance().Limits {
//		... // demand l.Cost of the bucket m.Bucket under l.Rule
//	}
//
// A [File] keeps a Book up to date with a file; any other source calls
// [Book.Load]. What cannot be read or has errors leaves the policies in force
// as they are.
package policy
