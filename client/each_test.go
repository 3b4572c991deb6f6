package client_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/quotaworker/ratelimit/client"
)

func TestCheckEach(t *testing.T) {
	srv := startServer(t, server.Options{})
	var worker buckets
	serve(t, srv, worker.handle)
	c := newClient(t, srv, client.WithPrefix("acme"))
	rate := client.WithRate(2, time.Second)
	outcomes, err := c.CheckEach(t.Context(), []client.Item{
		{Key: "a", Options: []client.CheckOption{rate}},
		{Key: "b", Options: []client.CheckOption{rate, client.WithCost(3)}},
		{Key: "a", Options: []client.CheckOption{rate, client.WithCost(2)}},
		{Key: "a", Options: []client.CheckOption{rate}},
		{Key: "c", Options: []client.CheckOption{client.WithPolicy("silver")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		key       string
		allowed   bool
		remaining int64
		is        error
	}{
		{"acme.a", true, 1, nil},
		{"acme.b", false, 0, client.ErrCostExceedsBurst},
		{"acme.a", false, 1, nil},
		{"acme.a", true, 0, nil},
		{"acme.c", false, 0, client.ErrUnknownPolicy},
	}
	if len(outcomes) != len(want) {
		t.Fatalf("got %d outcomes, want %d", len(outcomes), len(want))
	}
	for i, w := range want {
		got := outcomes[i]
		if got.Key != w.key || got.Allowed != w.allowed || got.Remaining != w.remaining || !errors.Is(got.Err, w.is) || got.Err != nil && w.is == nil {
			t.Errorf("%d: got %+v, want %+v", i, got, w)
		}
	}
	if outcomes.Allowed() {
		t.Error("Allowed is true")
	}
	if err := outcomes.Err(); !errors.Is(err, client.ErrCostExceedsBurst) || !errors.Is(err, client.ErrUnknownPolicy) {
		t.Errorf("Err = %v", err)
	}
	if got, want := outcomes[1].Err.Error(), `ratelimit: check "acme.b": cost_exceeds_burst: cost 3 is more than the burst of 2`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if some := (client.Outcomes{outcomes[0], outcomes[3]}); !some.Allowed() || some.Err() != nil {
		t.Errorf("Allowed = %v, Err = %v", some.Allowed(), some.Err())
	}
}

func TestCheckEachRefusedBeforeSending(t *testing.T) {
	srv := startServer(t, server.Options{})
	var worker seen
	serve(t, srv, worker.handle)
	c := newClient(t, srv)
	long := make([]client.Item, client.MaxItems)
	for i := range long {
		long[i].Key = strings.Repeat("x", 250) + strconv.Itoa(i)
	}
	for _, tt := range []struct {
		name  string
		items []client.Item
		is    error
		want  string
	}{
		{"none", nil, client.ErrInvalidRequest, `ratelimit: check 0 items: invalid_request: there must be 1 to 256 of them`},
		{"too many", make([]client.Item, client.MaxItems+1), client.ErrInvalidRequest, `ratelimit: check 257 items: invalid_request: there must be 1 to 256 of them`},
		{"no key", []client.Item{{Key: "a"}, {}}, client.ErrInvalidKey, `ratelimit: check 2 items: invalid_key: checks[1]: the key is empty; name who is limited, as in "user.42"`},
		{"bad key", []client.Item{{Key: "a"}, {Key: "*"}}, client.ErrInvalidKey, `ratelimit: check 2 items: invalid_key: checks[1]: key "*" has a byte at position 1 that must be escaped (0x2A); write it as "%2A"`},
		{"bad option", []client.Item{{Key: "a", Options: []client.CheckOption{client.WithBurst(0)}}}, client.ErrInvalidRequest, `ratelimit: check 1 items: invalid_request: checks[0]: burst: must be at least 1; leave it out for as much as the rate`},
		{"bad cost", []client.Item{{Key: "a"}, {Key: "b", Options: []client.CheckOption{client.WithCost(-1)}}}, client.ErrInvalidRequest, `ratelimit: check 2 items: invalid_request: checks[1].cost: -1 must not be negative`},
		{"too long", long, client.ErrInvalidRequest, `ratelimit: check 256 items: invalid_request: the body has 67486 bytes and must have at most 65536`},
	} {
		_, err := c.CheckEach(t.Context(), tt.items)
		if !errors.Is(err, tt.is) || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, tt.want)
		}
	}
	if n := worker.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if _, err := c.CheckEach(t.Context(), long[:200]); err != nil {
		t.Errorf("200 long keys: %v", err)
	}
}
