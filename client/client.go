package client

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// DefaultTimeout is how long a call waits if its context has no deadline and
// the client was made without [WithTimeout].
const DefaultTimeout = 2 * time.Second

// Client asks the rate limiter over one NATS connection. It is safe for
// concurrent use and need not be closed before its connection is. The goroutine
// of [Client.Wait] ends with the waiting, that of a [Lease] with its Close.
type Client struct {
	nc      *nats.Conn
	prefix  string
	timeout time.Duration
	bodies  sync.Pool // of *[]byte
	batcher *batcher  // nil if checks go one by one
	single  bool
	waits   waitLines
}

// Option configures a [Client].
type Option func(*Client) error

// New returns a Client that asks over nc, which stays the caller's to close.
// The error says what is wrong with an option; it sends nothing, and works on
// a connection that is not established yet.
func New(nc *nats.Conn, opts ...Option) (*Client, error) {
	if nc == nil {
		return nil, errors.New("ratelimit: the NATS connection is nil; make one with nats.Connect")
	}
	c := &Client{
		nc:      nc,
		timeout: DefaultTimeout,
		bodies:  sync.Pool{New: func() any { return new([]byte) }},
	}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, fmt.Errorf("ratelimit: %w", err)
		}
	}
	if !c.single {
		c.batcher = newBatcher(c)
	}
	return c, nil
}

// Close gives back what the client has of its connection: the subscription for
// the replies to its checks. Checks that still wait for their answers fail with
// [ErrDisconnected]. A client that is used again subscribes again. When the
// connection is closed there is nothing left to give back.
func (c *Client) Close() {
	if c.batcher != nil {
		c.batcher.hangUp()
	}
}

// WithPrefix puts prefix, a key of one or more tokens, before every key: with
// the prefix acme, Check of user.42 is about acme.user.42, which is also what
// its [Result] says. All subjects then begin with the prefix, those of
// [Client.CheckEach] too, so that a tenant's user needs permission for
// ratelimit.*.acme and ratelimit.*.acme.> only.
func WithPrefix(prefix string) Option {
	return func(c *Client) error {
		if err := wire.CheckKey(prefix); err != nil {
			return fmt.Errorf("prefix: %w", fromWire(err))
		}
		c.prefix = prefix
		return nil
	}
}

// WithoutBatching sends every check in a message of its own, on a subject of
// its own: ratelimit.check and the key. It is for users who may publish on
// subjects of some keys only, and for a look at checks as they pass by.
func WithoutBatching() Option {
	return func(c *Client) error {
		c.single = true
		return nil
	}
}

// WithTimeout bounds the calls whose context has no deadline. d must be at
// least a millisecond.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) error {
		if d < time.Millisecond {
			return fmt.Errorf("a timeout of %s is too short; give calls 1ms at least", d)
		}
		c.timeout = d
		return nil
	}
}

// ConnectOptions returns the options that suit a rate limiter's client, to be
// passed to [nats.Connect] before options of your own:
//
//   - requests made while the server is away are not kept: the default is to
//     send them later, when nobody waits for the answer but they still cost
//     tokens;
//   - the connection never gives up, where the default is to close for good
//     after two minutes;
//   - a server that is gone without a word is noticed within 15 seconds, not
//     six minutes.
func ConnectOptions() []nats.Option {
	return []nats.Option{
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
	}
}
