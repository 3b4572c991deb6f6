package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

// cannotConnect says what was tried and what to do.
func (c *connection) cannotConnect(err error, context setting) error {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	if c.where == "" {
		name := "the selected NATS context"
		if context.value != "" {
			name = fmt.Sprintf("the NATS context %q, set by %s,", context.value, context.from)
		}
		return wrongUse("%s cannot be used: %s; see: nats context ls, or name a server with --server", name, cause(err))
	}
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return noAnswer("no NATS server answers at %s; is one running? Start one with: ratelimitd", c.where)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return noAnswer("the NATS server at %s, does not let you in (%s); say who you are, see: ratelimit help connecting", c.where, cause(err))
	case errors.Is(err, nats.ErrTimeout) || os.IsTimeout(err):
		return noAnswer("no NATS server answered within %s at %s; is it the right address? Wait longer with --timeout", c.timeout, c.where)
	}
	return noAnswer("cannot connect (%s) to the NATS server at %s; see: ratelimit help connecting", cause(err), c.where)
}

// redacted returns the address of a server without user, password and token.
// The error does not show the address.
func redacted(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("no address")
	}
	return u.Scheme + "://" + u.Host, nil
}

// cause returns what an error says, without the names of the functions that it
// passed through.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "nats: ")
}
