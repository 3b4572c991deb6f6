package peerbench

import (
	"context"
	"time"
)

// Limit is the one limit of a run: Count at once, and Count per Period.
type Limit struct {
	Count  int
	Period time.Duration
}

// Servers says where those peers ask that do not decide by themselves.
type Servers struct {
	Redis string // host:port
	NATS  string // URL of a server with a worker and an echo on it
}

// Allow asks for one token of key. The error says that nothing was decided, or
// that it was not decided where it should have been. It is safe for concurrent
// use.
type Allow func(ctx context.Context, key string) (bool, error)

// Peer is a way to ask for a token.
type Peer struct {
	Name string

	// Rule is the algorithm, in a word or two.
	Rule string

	// Says is how a limit of 5 is written for this peer.
	Says string

	// Echo marks a peer that says yes to everything, to show what the
	// transport alone costs.
	Echo bool

	// Open makes the peer ready, with all buckets full as far as they are in
	// this process. The caller calls close when it has its last answer.
	Open func(at Servers, limit Limit) (allow Allow, close func(), err error)
}
