package client_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
)

func TestNewRefuses(t *testing.T) {
	srv := startServer(t, server.Options{})
	nc := connect(t, srv)
	for _, tt := range []struct {
		nc   *nats.Conn
		opt  client.Option
		want string
	}{
		{nil, client.WithTimeout(time.Second), "ratelimit: the NATS connection is nil; make one with nats.Connect"},
		{nc, client.WithTimeout(0), "ratelimit: a timeout of 0s is too short; give calls 1ms at least"},
		{nc, client.WithTimeout(-time.Second), "ratelimit: a timeout of -1s is too short; give calls 1ms at least"},
		{nc, client.WithPrefix(""), "ratelimit: prefix: invalid_key: the key is empty"},
		{nc, client.WithPrefix("acme."), `ratelimit: prefix: invalid_key: key "acme." has an empty token at position 6`},
		{nc, client.WithPrefix("acme.>"), `ratelimit: prefix: invalid_key: key "acme.>" has a byte at position 6 that must be escaped`},
	} {
		c, err := client.New(tt.nc, tt.opt)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %v, %v, want %s", c, err, tt.want)
		}
	}
}

func TestConnectOptions(t *testing.T) {
	srv := startServer(t, server.Options{})
	got := connect(t, srv, client.ConnectOptions()...).Opts
	if got.ReconnectBufSize != -1 || got.MaxReconnect != -1 {
		t.Errorf("ReconnectBufSize %d, MaxReconnect %d, want -1 for both", got.ReconnectBufSize, got.MaxReconnect)
	}
	if worst := got.PingInterval * time.Duration(got.MaxPingsOut+1); worst > 15*time.Second {
		t.Errorf("a server that is gone is noticed after %s", worst)
	}
	// What comes after them wins.
	own := append(client.ConnectOptions(), nats.MaxReconnects(3))
	if got := connect(t, srv, own...).Opts; got.MaxReconnect != 3 {
		t.Errorf("MaxReconnect %d, want 3", got.MaxReconnect)
	}
}
