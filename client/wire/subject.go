package wire

import "strings"

// Verb is what a request does. Each has subjects of its own.
type Verb string

// The verbs.
const (
	// VerbCheck takes tokens, all that the request asks for or none.
	VerbCheck Verb = "check"

	// VerbPeek looks and takes nothing.
	VerbPeek Verb = "peek"

	// VerbReset fills the bucket.
	VerbReset Verb = "reset"

	// VerbRefund gives tokens back, at most until the bucket is full.
	VerbRefund Verb = "refund"
)

const root = "ratelimit."

// Subject returns the subject of a request about key, such as
// "ratelimit.check.user_123". With an empty key it is that of a request which
// names its key, or several, in the body: "ratelimit.check".
func Subject(v Verb, key string) string {
	if key == "" {
		return root + string(v)
	}
	return root + string(v) + "." + key
}

// KeyFromSubject is the inverse of [Subject]: it returns what stands in
// subject after the verb, and "" if nothing does or the subject is not one of
// v. What it returns is not checked.
func KeyFromSubject(v Verb, subject string) string {
	rest, ok := strings.CutPrefix(subject, root)
	if !ok {
		return ""
	}
	rest, ok = strings.CutPrefix(rest, string(v))
	if !ok || rest == "" || rest[0] != '.' {
		return ""
	}
	return rest[1:]
}
