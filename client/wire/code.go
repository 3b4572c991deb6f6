package wire

import (
	"fmt"
	"net/http"
)

// Code says what went wrong, in a form that programs can rely on: a code
// never changes its meaning. An error is never a denial; it says that no
// decision was made.
type Code string

// The codes. Each stands for one HTTP status, see [Code.HTTPStatus].
const (
	// CodeInvalidKey: the key is empty, too long, or not in its one spelling.
	CodeInvalidKey Code = "invalid_key"

	// CodeInvalidRequest: the body is not a request.
	CodeInvalidRequest Code = "invalid_request"

	// CodeCostExceedsBurst: the cost is more than a full bucket holds, so that
	// no waiting would help.
	CodeCostExceedsBurst Code = "cost_exceeds_burst"

	// CodeLimitNotRepresentable: every field of the inline limit is in bounds,
	// but together they cannot be counted exactly.
	CodeLimitNotRepresentable Code = "limit_not_representable"

	// CodeUnknownPolicy: the request names a policy that does not exist.
	CodeUnknownPolicy Code = "unknown_policy"

	// CodeNoPolicy: no policy matches the key, the request has no limit of its
	// own, and there is no default limit.
	CodeNoPolicy Code = "no_policy"

	// CodeInlineLimitRefused: the operator does not let this request bring its
	// own limit.
	CodeInlineLimitRefused Code = "inline_limit_refused"

	// CodeDeadlineExceeded: the caller's time had run out before the decision;
	// nothing was charged.
	CodeDeadlineExceeded Code = "deadline_exceeded"

	// CodeOverloaded: the worker has too much to do; nothing was charged.
	CodeOverloaded Code = "overloaded"

	// CodeUnavailable: the worker could not decide.
	CodeUnavailable Code = "unavailable"
)

// statuses is the one table from codes to HTTP. A limit that is not
// representable is a 400 like every other limit out of bounds; 422 is left to
// the request that is well formed and could be granted under another limit.
var statuses = map[Code]int{
	CodeInvalidKey:            http.StatusBadRequest,
	CodeInvalidRequest:        http.StatusBadRequest,
	CodeCostExceedsBurst:      http.StatusUnprocessableEntity,
	CodeLimitNotRepresentable: http.StatusBadRequest,
	CodeUnknownPolicy:         http.StatusNotFound,
	CodeNoPolicy:              http.StatusNotFound,
	CodeInlineLimitRefused:    http.StatusForbidden,
	CodeDeadlineExceeded:      http.StatusGatewayTimeout,
	CodeOverloaded:            http.StatusServiceUnavailable,
	CodeUnavailable:           http.StatusServiceUnavailable,
}

// HTTPStatus returns the HTTP status that stands for the code, and 500 for a
// code it does not know.
func (c Code) HTTPStatus() int {
	if status, ok := statuses[c]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// Error says why no decision was made. On the wire it is
// {"code":"...","message":"..."}.
type Error struct {
	Code Code

	// Message is a sentence for a person, which says what to do. Programs go
	// by Code.
	Message string
}

// Errorf returns an Error whose message is formatted as by [fmt.Sprintf].
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }
