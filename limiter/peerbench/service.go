package peerbench

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
)

// EchoSubject is where something answers every message, whatever stands behind
// the subject and a dot, with EchoReply.
const EchoSubject = "echo"

// EchoReply is as long as the reply to a check.
const EchoReply = `{"allowed":true,"key":"tenant.acme.user.00000000","limit":100,"remaining":99,"retry_after_ms":0,"reset_after_ms":600,"window_ms":60000,"limit_name":"default","source":"redis","degraded":false}`

// Service returns the ways to ask a worker over NATS. The limit is that of the
// worker.
func Service() []Peer {
	return []Peer{
		{Name: "ours: over NATS, a request per check", Rule: "token bucket", Says: "5/h", Open: openClient(client.WithoutBatching())},
		{Name: "ours: over NATS", Rule: "token bucket", Says: "5/h", Open: openClient()},
		{Name: "echo over NATS, which limits nothing", Rule: "-", Says: "-", Echo: true, Open: openEcho},
	}
}

// errDegraded says that Redis did not decide.
var errDegraded = errors.New("the answer is degraded")

func openClient(opts ...client.Option) func(Servers, Limit) (Allow, func(), error) {
	return func(at Servers, _ Limit) (Allow, func(), error) {
		nc, err := nats.Connect(at.NATS, client.ConnectOptions()...)
		if err != nil {
			return nil, nil, err
		}
		c, err := client.New(nc, append(opts, client.WithTimeout(patience))...)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context, key string) (bool, error) {
			res, err := c.Check(ctx, key)
			if err == nil && res.Degraded {
				err = errDegraded
			}
			return res.Allowed, err
		}, nc.Close, nil
	}
}

func openEcho(at Servers, _ Limit) (Allow, func(), error) {
	nc, err := nats.Connect(at.NATS, client.ConnectOptions()...)
	if err != nil {
		return nil, nil, err
	}
	return func(_ context.Context, key string) (bool, error) {
		msg, err := nc.Request(EchoSubject+"."+key, nil, patience)
		return err == nil && len(msg.Data) == len(EchoReply), err
	}, nc.Close, nil
}
