package wire

import "errors"

// DecodeReply reads the answer to one check. It ignores fields that it does
// not know, since newer workers may add some; the types of those that it does
// know must be right. A reply that says neither whether the check was allowed
// nor what went wrong is an error.
func DecodeReply(body []byte) (Reply, error) {
	s := scanner{data: body, check: -1}
	var r Reply
	s.reply(&r)
	s.end()
	if s.err != nil {
		return Reply{}, errReply(&s)
	}
	return r, nil
}

// DecodeReplies reads the answer to a request with several checks, by the
// rules of [DecodeReply].
func DecodeReplies(body []byte) (Replies, error) {
	var r Replies
	if err := DecodeRepliesInto(&r, body); err != nil {
		return Replies{}, err
	}
	return r, nil
}

// DecodeRepliesInto is DecodeReplies into r, whose space it uses again. A
// string that already stands in Results where the same text is read stays
// there, up to the capacity of Results: so who knows which keys are going to
// be answered puts them there, and decoding allocates nothing. After an error
// r holds nothing that means anything.
func DecodeRepliesInto(r *Replies, body []byte) error {
	s := scanner{data: body, check: -1}
	s.replies(r)
	s.end()
	if s.err != nil {
		return errReply(&s)
	}
	return nil
}

// errReply makes a plain error: an *Error is what a worker said, and this is
// about something that no worker should say.
func errReply(s *scanner) error {
	return errors.New("not a reply: " + s.err.Message)
}

// reply reads a reply into r, and uses the space of what stands there.
func (s *scanner) reply(r *Reply) {
	key, policy, name, source, limits := r.Key, r.Policy, r.LimitName, r.Source, r.Limits
	*r = Reply{}
	answered := false
	for n := 0; s.member(n); n++ {
		switch string(s.name) {
		case "allowed":
			answered = true
			r.Allowed = s.boolean()
		case "key":
			r.Key = s.text(key)
		case "limit":
			r.Limit = s.count()
		case "remaining":
			r.Remaining = s.count()
		case "retry_after_ms":
			r.RetryAfterMS = s.count()
		case "reset_after_ms":
			r.ResetAfterMS = s.count()
		case "window_ms":
			r.WindowMS = s.count()
		case "delay_ms":
			r.DelayMS = s.count()
		case "policy":
			r.Policy = s.text(policy)
		case "limit_name":
			r.LimitName = s.limitName(name)
		case "limits":
			r.Limits = s.limits(limits)
		case "source":
			r.Source = s.source(source)
		case "degraded":
			r.Degraded = s.boolean()
		case "would_deny":
			r.WouldDeny = s.boolean()
		case "error":
			r.Err = s.errorValue()
		default:
			s.skip(0)
		}
	}
	switch {
	case s.err != nil:
	case r.Err != nil:
		*r = Reply{Key: r.Key, Err: r.Err}
	case !answered:
		s.fail(`it has neither "allowed" nor "error"`)
	}
}

// limits reads the limits of a reply into the space of old; none is nil.
func (s *scanner) limits(old []LimitReply) []LimitReply {
	var limits []LimitReply
	for n := 0; s.element(n); n++ {
		if n == 0 {
			limits = old[:0]
		}
		limits = grow(limits)
		s.limit(&limits[n])
	}
	return limits
}

// grow makes s longer by one element, which is what its space holds already.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

func (s *scanner) limit(l *LimitReply) {
	name := l.Name
	*l = LimitReply{}
	for n := 0; s.member(n); n++ {
		switch string(s.name) {
		case "name":
			l.Name = s.limitName(name)
		case "limit":
			l.Limit = s.count()
		case "remaining":
			l.Remaining = s.count()
		case "retry_after_ms":
			l.RetryAfterMS = s.count()
		case "reset_after_ms":
			l.ResetAfterMS = s.count()
		case "window_ms":
			l.WindowMS = s.count()
		default:
			s.skip(0)
		}
	}
}

func (s *scanner) replies(r *Replies) {
	space := r.Results
	*r = Replies{}
	answered := false
	for n := 0; s.member(n); n++ {
		switch string(s.name) {
		case "allowed":
			answered = true
			r.Allowed = s.boolean()
		case "retry_after_ms":
			r.RetryAfterMS = s.count()
		case "in_turn":
			r.InTurn = s.boolean()
		case "results":
			r.Results = s.results(space)
		case "error":
			r.Err = s.errorValue()
		default:
			s.skip(0)
		}
	}
	switch {
	case s.err != nil:
	case r.Err != nil:
		*r = Replies{Err: r.Err}
	case !answered || r.Results == nil:
		s.fail(`it has neither "allowed" and "results" nor "error"`)
	}
}

func (s *scanner) results(space []Reply) []Reply {
	results := space[:0]
	if results == nil {
		results = []Reply{}
	}
	for n := 0; s.element(n); n++ {
		results = grow(results)
		s.reply(&results[n])
	}
	return results
}

func (s *scanner) errorValue() *Error {
	e := &Error{}
	for n := 0; s.member(n); n++ {
		switch string(s.name) {
		case "code":
			e.Code = Code(s.str())
		case "message":
			e.Message = string(s.str())
		default:
			s.skip(0)
		}
	}
	if e.Code == "" {
		s.fail("the error has no code")
	}
	return e
}

// text, limitName and source spare what was there before, and the words that
// nearly every reply has, an allocation.

func (s *scanner) text(old string) string {
	text := s.str()
	if string(text) == old {
		return old
	}
	return string(text)
}

func (s *scanner) limitName(old string) string {
	if old == "" {
		old = "default"
	}
	return s.text(old)
}

func (s *scanner) source(old string) string {
	text := s.str()
	switch string(text) {
	case "redis":
		return "redis"
	case "memory":
		return "memory"
	case "policy":
		return "policy"
	case "deny_cache":
		return "deny_cache"
	case old:
		return old
	}
	return string(text)
}
