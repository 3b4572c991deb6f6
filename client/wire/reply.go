package wire

import "strconv"

// Replies is the answer to a request with several checks. On the wire it is
// {"allowed":true,"results":[...]}.
type Replies struct {
	// Allowed reports whether every one of the checks was allowed. In ModeAll
	// nothing was taken otherwise, and the results say of each check whether
	// it would have been allowed without the others.
	Allowed bool

	// RetryAfterMS is, in ModeAll, how many milliseconds to wait before the
	// same request would be granted. It is left out on the wire when 0.
	RetryAfterMS int64

	// InTurn is true, in ModeAll, when the buckets were not decided at one
	// moment but one after the other, and given back if one of them denied,
	// because Redis Cluster keeps them apart. It is left out on the wire when
	// false.
	InTurn bool

	// Results has an element for each of the checks, in their order.
	Results []Reply

	// Err is set in place of everything else when the request as a whole was
	// refused.
	Err *Error
}

// AppendReply appends r to dst. What most replies have no use for is left out,
// see Reply; if Err is set there is nothing but it and the key.
func AppendReply(dst []byte, r *Reply) []byte {
	if r.Err != nil {
		dst = append(dst, '{')
		if r.Key != "" {
			dst = append(appendString(append(dst, `"key":`...), r.Key), ',')
		}
		return append(appendError(dst, r.Err), '}')
	}
	dst = strconv.AppendBool(append(dst, `{"allowed":`...), r.Allowed)
	dst = appendString(append(dst, `,"key":`...), r.Key)
	dst = strconv.AppendInt(append(dst, `,"limit":`...), r.Limit, 10)
	dst = strconv.AppendInt(append(dst, `,"remaining":`...), r.Remaining, 10)
	dst = strconv.AppendInt(append(dst, `,"retry_after_ms":`...), r.RetryAfterMS, 10)
	dst = strconv.AppendInt(append(dst, `,"reset_after_ms":`...), r.ResetAfterMS, 10)
	dst = strconv.AppendInt(append(dst, `,"window_ms":`...), r.WindowMS, 10)
	if r.DelayMS != 0 {
		dst = strconv.AppendInt(append(dst, `,"delay_ms":`...), r.DelayMS, 10)
	}
	if r.Policy != "" {
		dst = appendString(append(dst, `,"policy":`...), r.Policy)
	}
	dst = appendString(append(dst, `,"limit_name":`...), r.LimitName)
	if len(r.Limits) > 0 {
		dst = appendLimits(dst, r.Limits)
	}
	dst = appendString(append(dst, `,"source":`...), r.Source)
	dst = strconv.AppendBool(append(dst, `,"degraded":`...), r.Degraded)
	if r.WouldDeny {
		dst = append(dst, `,"would_deny":true`...)
	}
	return append(dst, '}')
}

func appendLimits(dst []byte, limits []LimitReply) []byte {
	dst = append(dst, `,"limits":[`...)
	for i := range limits {
		l := &limits[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"name":`...), l.Name)
		dst = strconv.AppendInt(append(dst, `,"limit":`...), l.Limit, 10)
		dst = strconv.AppendInt(append(dst, `,"remaining":`...), l.Remaining, 10)
		dst = strconv.AppendInt(append(dst, `,"retry_after_ms":`...), l.RetryAfterMS, 10)
		dst = strconv.AppendInt(append(dst, `,"reset_after_ms":`...), l.ResetAfterMS, 10)
		dst = strconv.AppendInt(append(dst, `,"window_ms":`...), l.WindowMS, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// AppendReplies appends r to dst.
func AppendReplies(dst []byte, r *Replies) []byte {
	if r.Err != nil {
		return AppendError(dst, r.Err)
	}
	dst = strconv.AppendBool(append(dst, `{"allowed":`...), r.Allowed)
	if r.RetryAfterMS != 0 {
		dst = strconv.AppendInt(append(dst, `,"retry_after_ms":`...), r.RetryAfterMS, 10)
	}
	if r.InTurn {
		dst = append(dst, `,"in_turn":true`...)
	}
	dst = append(dst, `,"results":[`...)
	for i := range r.Results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendReply(dst, &r.Results[i])
	}
	return append(dst, ']', '}')
}

// AppendError appends the reply that refuses a request as a whole, which is
// {"error":{"code":"...","message":"..."}}. [DecodeReply] and [DecodeReplies]
// both read it.
func AppendError(dst []byte, e *Error) []byte {
	return append(appendError(append(dst, '{'), e), '}')
}

func appendError(dst []byte, e *Error) []byte {
	dst = appendString(append(dst, `"error":{"code":`...), string(e.Code))
	dst = appendString(append(dst, `,"message":`...), e.Message)
	return append(dst, '}')
}
