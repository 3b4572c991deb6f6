package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// The exit codes, which scripts rely on. Of several answers the highest one
// counts.
const (
	// exitAllowed: the check was granted, or the command did what it says.
	exitAllowed = 0

	// exitDenied: a check was denied. That is an answer, not an error.
	exitDenied = 1

	// exitWrongUse: the command, a setting or the request is wrong; the same
	// again will fail again.
	exitWrongUse = 2

	// exitNoAnswer: nobody decided; the same may work later.
	exitNoAnswer = 3

	// exitOverAdmitted: bench found a key that was granted more than its
	// limit allows.
	exitOverAdmitted = 4
)

// exitHelp stands in the help of every verb that asks the service.
const exitHelp = `Exit codes:
  0  allowed, or done
  1  denied
  2  wrong use: a flag, a setting, the key or the limit has to be changed
  3  no answer: no server, no worker, or none in time; try again later
`

// failure is an error as this program ends with it.
type failure struct {
	exit int

	// code is the stable code of an error of the service, empty for one of
	// this program.
	code wire.Code

	// message is a sentence that says what to do.
	message string

	// key is the key that was asked about, if it came to that.
	key string
}

func (f *failure) Error() string { return f.message }

// wrongUse is a failure of the command line or of a setting.
func wrongUse(format string, args ...any) *failure {
	return &failure{exit: exitWrongUse, message: fmt.Sprintf(format, args...)}
}

// noAnswer is a failure to reach the service.
func noAnswer(format string, args ...any) *failure {
	return &failure{exit: exitNoAnswer, message: fmt.Sprintf(format, args...)}
}

// failureOf is the one place where errors become exit codes.
func failureOf(err error) *failure {
	var (
		f         *failure
		answered  *client.Error
		malformed *wire.Error
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &answered):
		return &failure{exit: exitOf(answered.Code), code: answered.Code, message: answered.Message}
	case errors.As(err, &malformed):
		return &failure{exit: exitOf(malformed.Code), code: malformed.Code, message: malformed.Message}
	case errors.Is(err, context.Canceled):
		return noAnswer("interrupted before the answer came; it may have been charged all the same")
	}
	// What is left are sentences of the command line library.
	return wrongUse("%s; see: ratelimit --help", err)
}

// exitOf splits the codes of the service as HTTP does, into the errors of who
// asks and those of who should answer.
func exitOf(code wire.Code) int {
	if status := code.HTTPStatus(); status >= 400 && status < 500 {
		return exitWrongUse
	}
	return exitNoAnswer
}

// fail prints what went wrong and sets the exit code, which is higher than
// that of any answer before.
func (p *program) fail(f *failure) {
	p.exit = f.exit
	if p.json {
		e := &wire.Error{Code: f.code, Message: f.message}
		switch {
		case e.Code != "":
		case f.exit == exitWrongUse:
			e.Code = wire.CodeInvalidRequest
		default:
			e.Code = wire.CodeUnavailable
		}
		fmt.Fprintf(p.stdout, "%s\n", wire.AppendReply(nil, &wire.Reply{Key: f.key, Err: e}))
		return
	}
	line := "ratelimit: "
	if f.key != "" {
		line += f.key + ": "
	}
	if f.code != "" {
		line += string(f.code) + ": "
	}
	fmt.Fprintln(p.stderr, line+f.message)
}
