package wire

import (
	"strings"
	"time"
)

// Bounds of an inline limit's interval.
const (
	minInterval = time.Millisecond
	maxInterval = 366 * 24 * time.Hour
)

// MaxTimeoutMS bounds Request.TimeoutMS, to a day. What is longer is not how long
// somebody waits for an answer.
const MaxTimeoutMS = 24 * 60 * 60 * 1000

// maxPolicyName bounds the name of a policy, in bytes.
const maxPolicyName = 64

// fields are the members of a request, in the order of their bits in a
// fieldSet; the first checkFields of them are those of a check as well.
var fields = [...]string{"key", "rate", "interval", "burst", "cost", "algorithm", "policy", "timeout_ms", "checks", "mode"}

const checkFields = 8

// fieldSet has a bit for each of fields.
type fieldSet uint16

func (f fieldSet) has(name string) bool { return f&bit(name) != 0 }

func bit(name string) fieldSet {
	for i := range fields {
		if fields[i] == name {
			return 1 << i
		}
	}
	return 0
}

// DecodeRequest reads the body of a request. It accepts exactly what the
// fields of [Request] allow: an unknown or repeated field, a wrong type, a
// number that is not a plain integer, or anything before or after the object
// is refused, because a field that is silently ignored or replaced is a limit
// that silently does not hold. The error is an *[Error] of
// [CodeInvalidRequest], or of [CodeInvalidKey] for a key that [CheckKey]
// refuses; its message begins with the path of the field, as in
// "checks[3].cost: -1 must not be negative".
func DecodeRequest(body []byte) (Request, error) {
	var r Request
	if err := DecodeRequestInto(&r, body); err != nil {
		return Request{}, err
	}
	return r, nil
}

// DecodeRequestInto is DecodeRequest into r, whose space for Checks it uses
// again. After an error r holds nothing that means anything.
func DecodeRequestInto(r *Request, body []byte) error {
	s := scanner{data: body, check: -1, checkSpace: r.Checks}
	if len(body) == 0 {
		*r = Request{Cost: 1}
		return nil
	}
	if len(body) > MaxRequest {
		return Errorf(CodeInvalidRequest, "the body has %d bytes and must have at most %d", len(body), MaxRequest)
	}
	if s.peek() != '{' {
		return notAnObject(&s)
	}
	s.request(r)
	s.end()
	if s.err != nil {
		return s.err
	}
	return nil
}

func notAnObject(s *scanner) *Error {
	what := s.kind()
	switch {
	case strings.HasPrefix(string(s.data), "\xef\xbb\xbf"):
		what = "a byte order mark"
	case what == "":
		what = quote(string(s.data))
	}
	return Errorf(CodeInvalidRequest, "the body must be empty or a JSON object, not %s", what)
}

// request reads a request, or the check whose index is in s.check.
func (s *scanner) request(r *Request) {
	*r = Request{Cost: 1}
	var seen fieldSet
	for n := 0; s.member(n); n++ {
		b := bit(string(s.name))
		if b == 0 {
			s.fail("unknown field %s%s", quote(string(s.name)), s.hint())
			return
		}
		if seen&b != 0 {
			s.fail("the field %q is given twice", s.name)
			return
		}
		seen |= b
		s.value(r)
		s.field = ""
	}
	if s.err == nil {
		r.CostGiven = seen.has("cost")
		s.together(seen)
	}
	if s.err == nil && r.Mode == ModeAll {
		s.noTimeouts(r.Checks)
	}
}

// noTimeouts refuses timeouts of checks that are decided as one.
func (s *scanner) noTimeouts(checks []Request) {
	for i := range checks {
		if checks[i].TimeoutMS > 0 {
			s.check, s.field = i, "timeout_ms"
			s.fail("checks that are granted all or none have one time; put it beside checks")
			s.check, s.field = -1, ""
			return
		}
	}
}

// value reads the value of the member that was found last.
func (s *scanner) value(r *Request) {
	switch string(s.name) {
	case "key":
		s.field = "key"
		r.Key = string(s.str())
		if s.err != nil {
			return
		}
		if e := checkKey(r.Key); e != nil {
			s.fail("%s", strings.TrimPrefix(e.Message, "key "))
			s.err.Code = CodeInvalidKey
		}
	case "rate":
		s.field = "rate"
		r.Rate = s.positive()
	case "interval":
		s.field = "interval"
		r.IntervalMicros = s.interval()
	case "burst":
		s.field = "burst"
		r.Burst = s.positive()
	case "cost":
		s.field = "cost"
		r.Cost = s.count()
	case "algorithm":
		s.field = "algorithm"
		r.Algorithm = s.oneOf(AlgorithmTokenBucket, AlgorithmLeakyBucket, AlgorithmSlidingWindow, AlgorithmFixedWindow)
	case "policy":
		s.field = "policy"
		r.Policy = s.policyName()
	case "timeout_ms":
		s.field = "timeout_ms"
		if r.TimeoutMS = s.positive(); r.TimeoutMS > MaxTimeoutMS {
			s.fail("%d must be at most %d, which is a day", r.TimeoutMS, int64(MaxTimeoutMS))
		}
	case "checks":
		s.field = "checks"
		r.Checks = s.checks()
	case "mode":
		s.field = "mode"
		if s.check >= 0 {
			s.fail("belongs beside checks, not into one of them")
			return
		}
		r.Mode = s.oneOf(ModeEach, ModeAll)
	}
}

func (s *scanner) checks() []Request {
	if s.check >= 0 {
		s.fail("a check cannot hold checks of its own")
		return nil
	}
	checks := s.checkSpace[:0]
	for n := 0; s.element(n); n++ {
		if n == MaxChecks {
			s.fail("more than %d; send the rest in another request", MaxChecks)
			break
		}
		checks = grow(checks)
		s.check, s.field = n, ""
		s.request(&checks[n])
		s.check, s.field = -1, "checks"
	}
	if s.err == nil && len(checks) == 0 {
		s.fail("must hold at least one check")
	}
	return checks
}

// together checks what the fields of one object require of one another.
func (s *scanner) together(seen fieldSet) {
	if seen.has("checks") {
		if extra := seen &^ (bit("checks") | bit("mode") | bit("timeout_ms")); extra != 0 {
			s.fail("%s cannot stand beside checks; put it into each of them", extra.first())
		}
		return
	}
	switch {
	case s.check >= 0 && !seen.has("key"):
		s.fail("the key is missing")
	case seen.has("mode"):
		s.fail("mode is for requests with checks; leave it out")
	case seen.has("rate") && !seen.has("interval"):
		s.fail(`rate needs an interval, as in "rate":5,"interval":"1s"`)
	case !seen.has("rate"):
		if lone := seen & (bit("interval") | bit("burst") | bit("algorithm")); lone != 0 {
			s.fail(`%s needs a rate, as in "rate":5,"interval":"1s"`, lone.first())
		}
	}
}

// first returns the name of the first field in f.
func (f fieldSet) first() string {
	for i := range fields {
		if f&(1<<i) != 0 {
			return fields[i]
		}
	}
	return ""
}

func (s *scanner) positive() int64 {
	n := s.count()
	if n == 0 {
		s.fail("must be at least 1")
	}
	return n
}

// interval reads a Go duration and returns it in microseconds.
func (s *scanner) interval() int64 {
	if s.peek() != '"' {
		s.failKind(`a duration in quotes, such as "1s"`)
		return 0
	}
	text := s.str()
	if s.err != nil {
		return 0
	}
	d, err := time.ParseDuration(string(text))
	switch {
	case err != nil || d < minInterval || d > maxInterval:
		s.fail(`%s is not a duration from 1ms to 8784h (366 days), such as "1s", "500ms" or "1h30m"`, quote(string(text)))
	case d%time.Microsecond != 0:
		s.fail("%s must be in whole microseconds", quote(string(text)))
	default:
		return d.Microseconds()
	}
	return 0
}

// oneOf reads one of the words, and returns it without allocating.
func (s *scanner) oneOf(words ...string) string {
	text := s.str()
	for _, w := range words {
		if string(text) == w {
			return w
		}
	}
	s.fail("%s is unknown; write %s", quote(string(text)), strings.Join(words, ", "))
	return ""
}

func (s *scanner) policyName() string {
	name := string(s.str())
	if s.err != nil {
		return ""
	}
	ok := len(name) > 0 && len(name) <= maxPolicyName
	for i := range len(name) {
		c := name[i]
		ok = ok && (plain[c] || c == '.')
	}
	if !ok {
		s.fail("%s is no name of a policy, which is 1 to %d of A-Z a-z 0-9 _ : @ / + = ~ . and -; leave it out to use the one that matches the key", quote(name), maxPolicyName)
	}
	return name
}
