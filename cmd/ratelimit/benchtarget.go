package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// overHTTP makes the target of --against.
func (b *benchRun) overHTTP() error {
	door := func(body []byte) (bench.Ask, error) {
		return bench.OverHTTP(b.flags.against, b.plan.Load.Keys, body, b.flags.connections, b.conn.timeout)
	}
	ask, err := door(b.body)
	if err != nil {
		return wrongUse("--against: %s", err)
	}
	look, err := door(encodeOptions(b.looking()))
	if err != nil {
		return err
	}
	if _, err := look(b.ctx, 0); err != nil {
		return err
	}
	b.plan.Target = bench.Callers{ask}
	return nil
}

// looking returns the options of a check that takes nothing.
func (b *benchRun) looking() []client.CheckOption {
	return append(slices.Clip(b.options), client.WithCost(0))
}

// overNATS makes the target of --client, and the baseline.
func (b *benchRun) overNATS() error {
	var conns []*nats.Conn
	var clients []*client.Client
	opts := []client.Option{client.WithTimeout(b.conn.timeout)}
	if b.flags.client == clientRequest {
		opts = append(opts, client.WithoutBatching())
	}
	for range b.flags.connections {
		nc, err := b.conn.dial()
		if err != nil {
			return err
		}
		b.closing = append(b.closing, nc.Close)
		c, err := client.New(nc, opts...)
		if err != nil {
			return err
		}
		conns, clients = append(conns, nc), append(clients, c)
	}
	keys := b.plan.Load.Keys
	res, err := clients[0].Check(b.ctx, keys.Name(0), b.looking()...)
	if err != nil {
		return b.unanswered(keys.Name(0), err)
	}
	echoRoot := ""
	if b.flags.baseline {
		echoRoot = bench.EchoRoot()
		reply := replyOf(&res)
		if err := b.startEcho(echoRoot, wire.AppendReply(nil, &reply)); err != nil {
			return err
		}
	}
	if b.flags.client == clientAsync {
		b.plan.Target = bench.NewAsync(conns, wire.Subject(wire.VerbCheck, ""), keys, b.body, b.conn.timeout)
		if echoRoot != "" {
			b.plan.Baseline = bench.NewAsync(conns, echoRoot, keys, b.body, b.conn.timeout)
		}
		return nil
	}
	var asks, echoes bench.Callers
	for i, c := range clients {
		ask := bench.Through(c, keys, b.options...)
		if b.flags.client == clientLease {
			if ask, err = b.leases(c); err != nil {
				return err
			}
		}
		asks = append(asks, ask)
		if echoRoot != "" {
			echoes = append(echoes, bench.Requests(conns[i], echoRoot, keys, b.conn.timeout))
		}
	}
	b.plan.Target = asks
	if echoRoot != "" {
		b.plan.Baseline = echoes
	}
	return nil
}

// leases starts a lease for each key that is asked about.
func (b *benchRun) leases(c *client.Client) (bench.Ask, error) {
	keys := b.plan.Load.Keys
	ask, giveBack, err := bench.Leased(b.ctx, c, keys, b.flags.leased(), b.flags.cost, b.limits...)
	if err != nil {
		return nil, failureOf(err)
	}
	b.closing = append(b.closing, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), b.conn.timeout)
		defer cancel()
		if err := giveBack(ctx); err != nil {
			fmt.Fprintf(b.stderr, "ratelimit: tokens of a lease are lost: %s\n", err)
		}
	})
	return ask, nil
}
