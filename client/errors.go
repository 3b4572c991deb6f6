package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Errors by code, for [errors.Is]. What is returned holds a message as well.
var (
	// ErrInvalidKey is returned when the key is empty, too long, or has bytes
	// that [KeyOf] would have escaped. Nothing was sent.
	ErrInvalidKey error = &Error{Code: wire.CodeInvalidKey}

	// ErrInvalidRequest is returned when an option has a value that makes no
	// sense, or options do not fit together. Nothing was charged.
	ErrInvalidRequest error = &Error{Code: wire.CodeInvalidRequest}

	// ErrCostExceedsBurst is returned when the cost is more than a full bucket
	// holds. Waiting does not help; lower the cost or raise the burst.
	ErrCostExceedsBurst error = &Error{Code: wire.CodeCostExceedsBurst}

	// ErrLimitNotRepresentable is returned when rate, interval and burst are
	// in bounds but cannot be counted exactly together.
	ErrLimitNotRepresentable error = &Error{Code: wire.CodeLimitNotRepresentable}

	// ErrUnknownPolicy is returned when the operator has no policy of the name
	// given with [WithPolicy].
	ErrUnknownPolicy error = &Error{Code: wire.CodeUnknownPolicy}

	// ErrNoPolicy is returned when no policy matches the key, no limit was
	// given with [WithRate], and the operator set no default.
	ErrNoPolicy error = &Error{Code: wire.CodeNoPolicy}

	// ErrInlineLimitRefused is returned when the operator does not accept a
	// limit given with [WithRate] for this key.
	ErrInlineLimitRefused error = &Error{Code: wire.CodeInlineLimitRefused}

	// ErrTimeout is returned when there was no answer in time. The message
	// says whether the check may have been charged. If the context's deadline
	// passed, or the client's timeout, [context.DeadlineExceeded] matches too.
	ErrTimeout error = &Error{Code: wire.CodeDeadlineExceeded}

	// ErrOverloaded is returned when the worker has more to do than it can.
	// Nothing was charged; asking again at once makes it worse.
	ErrOverloaded error = &Error{Code: wire.CodeOverloaded}

	// ErrUnavailable is returned when nobody could decide, for any reason. The
	// three below are narrower: what matches one of them matches this as well.
	ErrUnavailable error = &Error{Code: wire.CodeUnavailable}
)

// Kinds of ErrUnavailable.
var (
	// ErrNoWorkers is returned when no worker listens, within a millisecond.
	// Nothing was charged.
	ErrNoWorkers = errors.New("no workers")

	// ErrDisconnected is returned at once when the connection to the NATS
	// server is closed or being restored, and after the whole timeout when it
	// was lost while the request waited for its answer. The message says which,
	// and so whether the request may have been charged.
	ErrDisconnected = errors.New("disconnected")

	// ErrPermission is returned when the NATS server does not let this user
	// send the request or receive the answer. NATS says so on the side only,
	// so it is returned after the whole timeout.
	ErrPermission = errors.New("permission denied")
)

// Error says why nothing was decided.
type Error struct {
	// Code is one of the stable codes of the service. Front doors turn it into
	// an HTTP status with its HTTPStatus method.
	Code wire.Code

	// Message is a sentence for a person, which says what to do.
	Message string

	// causes are the narrower errors of this package, and those of NATS.
	causes []error
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Message
}

// Is reports whether target is an Error with the same code and no message, as
// the variables of this package are.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// Unwrap returns what led to the error, if more is known than the code says.
func (e *Error) Unwrap() []error { return e.causes }

// fromWire is the one place where errors come in from the wire, and from the
// checks that client and worker share.
func fromWire(err error) *Error {
	var e *wire.Error
	if !errors.As(err, &e) {
		return unavailable(err.Error(), err)
	}
	return &Error{Code: e.Code, Message: e.Message}
}

// fromNATS is the one place where errors come in from NATS: what a request on
// subject failed with after it had waited that long.
func (c *Client) fromNATS(subject string, err error, waited time.Duration) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return unavailable("no workers listen on "+strconv.Quote(subject)+"; start one with ratelimitd worker, in the NATS account of this user", ErrNoWorkers, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("canceled while waiting for the answer, so it may have been charged: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		if denied := c.denied(subject); denied != nil {
			return unavailable("the NATS server refuses this user ("+denied.Error()+"); allow it to publish on "+strconv.Quote(subject)+" and to subscribe to its inbox", ErrPermission, denied, err)
		}
		if !c.nc.IsConnected() {
			return errLost(err)
		}
		return &Error{
			Code:    wire.CodeDeadlineExceeded,
			Message: fmt.Sprintf("no answer within %s; it may have been charged, so it was not sent again", waited.Round(time.Millisecond)),
			causes:  []error{err},
		}
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed):
		return errLost(err)
	case errors.Is(err, nats.ErrMaxPayload):
		return &Error{Code: wire.CodeInvalidRequest, Message: "the request is larger than the NATS server accepts; split it", causes: []error{err}}
	}
	for _, unsent := range []error{nats.ErrConnectionReconnecting, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded} {
		if errors.Is(err, unsent) {
			return errNoConnection(err)
		}
	}
	return unavailable("the request failed: "+err.Error(), err)
}

func errNoConnection(err error) error {
	return unavailable("there is no NATS connection ("+err.Error()+"), so nothing was sent", ErrDisconnected, err)
}

func errLost(err error) error {
	return unavailable("the NATS connection was lost while waiting for the answer; it may have been charged, so it was not sent again", ErrDisconnected, err)
}

// errNotSent is for a context that was done before the request was sent.
func errNotSent(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("not sent, because the context was canceled already: %w", err)
	}
	return &Error{
		Code:    wire.CodeDeadlineExceeded,
		Message: "not sent, because the context's deadline had passed already",
		causes:  []error{err},
	}
}

// errQueued is for a check whose caller stopped waiting before it was sent.
func errQueued(err error, waited time.Duration) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("canceled before it was sent, so nothing was charged: %w", err)
	}
	return &Error{
		Code:    wire.CodeDeadlineExceeded,
		Message: fmt.Sprintf("not sent within %s, because the checks before it got no answer; nothing was charged", waited.Round(time.Millisecond)),
		causes:  []error{err},
	}
}

// errHeader is for a reply that its headers mark as an error and whose body
// does not say which, as the NATS services framework itself may send it.
func errHeader(msg *nats.Msg) error {
	return unavailable(fmt.Sprintf("the worker answered with the error %.100q and the number %.10q",
		msg.Header.Get(wire.HeaderError), msg.Header.Get(wire.HeaderErrorCode)))
}

// errNotReply is for a body that cannot be read.
func errNotReply(subject string, err error) error {
	return unavailable(fmt.Sprintf("what answers on %q does not speak as a worker does: %v", subject, err), err)
}

func unavailable(message string, causes ...error) *Error {
	return &Error{Code: wire.CodeUnavailable, Message: message, causes: causes}
}

// denied returns the violation that explains why a request on subject got no
// answer, if there is one. The server reports violations on the side, and the
// connection keeps the last one only.
func (c *Client) denied(subject string) error {
	err := c.nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	inbox := c.nc.Opts.InboxPrefix
	if inbox == "" {
		inbox = strings.TrimSuffix(nats.InboxPrefix, ".")
	}
	text := err.Error()
	if strings.Contains(text, `Publish to "`+subject+`"`) || strings.Contains(text, `Subscription to "`+inbox+".") {
		return err
	}
	return nil
}
