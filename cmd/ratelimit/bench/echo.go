package bench

import (
	"math/rand/v2"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// EchoRoot returns a subject to measure an echo under. It is as long as that
// of a check, and no two runs have the same.
func EchoRoot() string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	check := wire.Subject(wire.VerbCheck, "")
	verb := len(wire.VerbCheck)
	var b strings.Builder
	b.WriteString(check[:len(check)-verb])
	b.WriteByte('x') // no verb begins with it
	for range verb - 1 {
		b.WriteByte(letters[rand.IntN(len(letters))])
	}
	return b.String()
}

// Echo answers every request under root with body, in a queue group as workers
// do, until the connection is closed. It returns when the server knows of it.
func Echo(nc *nats.Conn, root string, body []byte) error {
	_, err := nc.QueueSubscribe(root+".>", wire.QueueGroup, func(m *nats.Msg) {
		// Who asked finds out by waiting in vain.
		_ = m.Respond(body)
	})
	if err != nil {
		return err
	}
	return nc.Flush()
}
