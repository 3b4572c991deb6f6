package client_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// BenchmarkCheck compares checks, with batching and without, to a request that
// is merely echoed, for numbers of callers at a time. The worker answers from
// what it has prepared, and server, worker and callers share a process, whose
// allocations are all counted.
func BenchmarkCheck(b *testing.B) {
	srv := newServer(server.Options{})
	defer stopServer(srv)
	connect := func() *nats.Conn {
		nc, err := nats.Connect(srv.ClientURL(), client.ConnectOptions()...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		return nc
	}
	reply := wire.Reply{Allowed: true, Key: "user.42", Limit: 100, Remaining: 99, ResetAfterMS: 10, WindowMS: 1000, LimitName: "default", Source: "redis"}
	one := wire.AppendReply(nil, &reply)
	many := make([][]byte, wire.MaxChecks+1)
	replies := wire.Replies{Allowed: true}
	for n := range many {
		many[n] = wire.AppendReplies(nil, &replies)
		replies.Results = append(replies.Results, reply)
	}
	subscribe(connect(), func(msg *nats.Msg) {
		body := one
		if n := bytes.Count(msg.Data, []byte(`{"key"`)); n > 0 {
			body = many[n]
		}
		_ = msg.Respond(body)
	})
	nc := connect()
	batching, err := client.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	oneByOne, err := client.New(nc, client.WithoutBatching())
	if err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 128, 1024} {
		for _, way := range []struct {
			name string
			call func() error
		}{
			{"echo", func() error {
				_, err := nc.Request("ratelimit.check.user.42", nil, time.Second)
				return err
			}},
			{"one by one", func() error {
				_, err := oneByOne.Check(context.Background(), "user.42")
				return err
			}},
			{"batching", func() error {
				_, err := batching.Check(context.Background(), "user.42")
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%s/callers=%d", way.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
				if callers == 1 {
					for b.Loop() {
						if err := way.call(); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := way.call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
