package client_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

type call = func(*client.Client, context.Context, string, ...client.CheckOption) (client.Result, error)

var verbs = map[string]call{
	"check":  (*client.Client).Check,
	"peek":   (*client.Client).Peek,
	"reset":  (*client.Client).Reset,
	"refund": (*client.Client).Refund,
}

func TestRequests(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var worker seen
		serve(t, srv, worker.handle)
		c := newClient(t, srv, way...)
		rate := client.WithRate(5, time.Second)
		for _, tt := range []struct {
			verb    string
			key     string
			opts    []client.CheckOption
			subject string
			body    string
		}{
			{"check", "user_123", nil, "ratelimit.check.user_123", ``},
			{"check", client.KeyOf("user", "a.b c"), nil, "ratelimit.check.user.a%2Eb%20c", ``},
			{"check", "a", []client.CheckOption{rate}, "ratelimit.check.a", `{"rate":5,"interval":"1s"}`},
			{"check", "a", []client.CheckOption{client.WithBurst(9), rate}, "ratelimit.check.a", `{"rate":5,"interval":"1s","burst":9}`},
			{"check", "a", []client.CheckOption{rate, client.WithAlgorithm("token_bucket")}, "ratelimit.check.a", `{"rate":5,"interval":"1s","algorithm":"token_bucket"}`},
			{"check", "a", []client.CheckOption{client.WithCost(0)}, "ratelimit.check.a", `{"cost":0}`},
			{"check", "a", []client.CheckOption{client.WithCost(1)}, "ratelimit.check.a", `{"cost":1}`},
			{"check", "a", []client.CheckOption{client.WithCost(1 << 53)}, "ratelimit.check.a", `{"cost":9007199254740992}`},
			{"check", "a", []client.CheckOption{client.WithPolicy("gold")}, "ratelimit.check.a", `{"policy":"gold"}`},
			{"peek", "a", []client.CheckOption{rate}, "ratelimit.peek.a", `{"rate":5,"interval":"1s"}`},
			{"reset", "a", []client.CheckOption{rate}, "ratelimit.reset.a", `{"rate":5,"interval":"1s"}`},
			{"refund", "a", []client.CheckOption{client.WithCost(3)}, "ratelimit.refund.a", `{"cost":3}`},
		} {
			if _, err := verbs[tt.verb](c, t.Context(), tt.key, tt.opts...); err != nil {
				t.Errorf("%s %s: %v", tt.verb, tt.key, err)
				continue
			}
			subject, body, timeout := worker.last(t)
			if subject != tt.subject || body != tt.body {
				t.Errorf("%s %s: got %s %s, want %s %s", tt.verb, tt.key, subject, body, tt.subject, tt.body)
			}
			if timeout <= time.Second || timeout > client.DefaultTimeout {
				t.Errorf("%s %s: the request says %s are left", tt.verb, tt.key, timeout)
			}
		}
	})
}

func TestTimeoutHeader(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var worker seen
		serve(t, srv, worker.handle)
		c := newClient(t, srv, append(way, client.WithTimeout(time.Minute))...)
		for _, tt := range []struct{ deadline, least, most time.Duration }{
			{0, 50 * time.Second, time.Minute},
			{10 * time.Second, 5 * time.Second, 10 * time.Second},
			{time.Hour, 59 * time.Minute, time.Hour},
		} {
			ctx := t.Context()
			if tt.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				defer cancel()
			}
			if _, err := c.Check(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if _, _, got := worker.last(t); got < tt.least || got > tt.most {
				t.Errorf("deadline in %s: the request says %s", tt.deadline, got)
			}
		}
	})
}

func TestPrefix(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var worker seen
		serve(t, srv, worker.handle)
		c := newClient(t, srv, append(way, client.WithPrefix("acme.eu"))...)
		for verb, call := range verbs {
			if _, err := call(c, t.Context(), "user.42"); err != nil {
				t.Fatal(err)
			}
			if subject, _, _ := worker.last(t); subject != "ratelimit."+verb+".acme.eu.user.42" {
				t.Errorf("%s goes to %s", verb, subject)
			}
		}
		if _, err := c.CheckEach(t.Context(), []client.Item{{Key: "user.42"}}); err != nil {
			t.Fatal(err)
		}
		if msg := worker.msgs[len(worker.msgs)-1]; msg.Subject != "ratelimit.check.acme.eu" || string(msg.Data) != `{"checks":[{"key":"user.42"}],"timeout_ms":2000}` {
			t.Errorf("got %s %s", msg.Subject, msg.Data)
		}

		// The prefix alone is nobody's key, and it counts against the bounds.
		before := worker.count()
		for _, key := range []string{"", strings.Repeat("a", 250), strings.Repeat("a.", 14) + "a"} {
			if _, err := c.Check(t.Context(), key); !errors.Is(err, client.ErrInvalidKey) {
				t.Errorf("Check(%q) = %v", key, err)
			}
			if _, err := c.CheckEach(t.Context(), []client.Item{{Key: key}}); !errors.Is(err, client.ErrInvalidKey) {
				t.Errorf("CheckEach(%q) = %v", key, err)
			}
		}
		if worker.count() != before {
			t.Error("a key that is refused was sent")
		}
	})
}

func TestResult(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		serve(t, srv, func(msg *nats.Msg) {
			respond(msg, &wire.Reply{
				Key: "acme.a", Limit: 5, Remaining: 1, RetryAfterMS: 1500, ResetAfterMS: 2500, WindowMS: 1 << 53,
				Policy: "gold", LimitName: "burst", Source: "memory", Degraded: true,
			})
		})
		got, err := newClient(t, srv, way...).Check(t.Context(), "a")
		want := client.Result{
			Key: "acme.a", Limit: 5, Remaining: 1, RetryAfter: 1500 * time.Millisecond, ResetAfter: 2500 * time.Millisecond,
			Window: math.MaxInt64, Policy: "gold", LimitName: "burst", Source: "memory", Degraded: true,
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	})
}

// TestRefusedBeforeSending has what must never reach NATS: there, a bad key
// looks like an outage at best and closes the connection at worst.
func TestRefusedBeforeSending(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var worker seen
		serve(t, srv, worker.handle)
		c := newClient(t, srv, way...)
		with := func(opts ...client.CheckOption) []client.CheckOption { return opts }
		rate := client.WithRate(5, time.Second)
		for _, tt := range []struct {
			verb, key string
			opts      []client.CheckOption
			is        error
			want      string
		}{
			{"check", "", nil, client.ErrInvalidKey, `ratelimit: check: invalid_key: the key is empty; name who is limited, as in "user.42"`},
			{"check", "user 42", nil, client.ErrInvalidKey, `ratelimit: check: invalid_key: key "user 42" has a byte at position 5 that must be escaped (0x20); write it as "user%2042"`},
			{"peek", "a..b", nil, client.ErrInvalidKey, `ratelimit: peek: invalid_key: key "a..b" has an empty token at position 3; dots separate tokens, and a dot within a token is written %2E`},
			{"reset", ">", nil, client.ErrInvalidKey, `ratelimit: reset: invalid_key: key ">" has a byte at position 1 that must be escaped (0x3E); write it as "%3E"`},
			{"refund", client.KeyOf("user", ""), nil, client.ErrInvalidKey, `ratelimit: refund: invalid_key: key "user." has an empty token at position 6; dots separate tokens, and a dot within a token is written %2E`},
			{"check", strings.Repeat("a", 5000), nil, client.ErrInvalidKey, `ratelimit: check: invalid_key: key "` + strings.Repeat("a", 64) + `"... is 5000 bytes long and must be at most 256; use a hash of the long part`},
			{"check", "a", with(client.WithRate(0, time.Second)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: rate: must be at least 1`},
			{"check", "a", with(client.WithRate(-5, time.Second)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: rate: -5 must not be negative`},
			{"check", "a", with(client.WithRate(1<<53+1, time.Second)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: rate: 9007199254740993 must be at most 9007199254740992`},
			{"check", "a", with(client.WithRate(5, 0)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: interval: "0us" is not a duration from 1ms to 8784h (366 days), such as "1s", "500ms" or "1h30m"`},
			{"check", "a", with(client.WithRate(5, -time.Second)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: interval: "-1s" is not a duration from 1ms to 8784h (366 days), such as "1s", "500ms" or "1h30m"`},
			{"check", "a", with(client.WithRate(5, time.Millisecond+1)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: interval: 1.000001ms must be in whole microseconds`},
			{"check", "a", with(client.WithRate(5, math.MaxInt64)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: interval: 2562047h47m16.854775807s must be in whole microseconds`},
			{"check", "a", with(rate, client.WithBurst(0)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: burst: must be at least 1; leave it out for as much as the rate`},
			{"check", "a", with(rate, client.WithBurst(-1)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: burst: -1 must not be negative`},
			{"check", "a", with(client.WithBurst(1)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: burst needs a rate, as in "rate":5,"interval":"1s"`},
			{"check", "a", with(client.WithAlgorithm("token_bucket")), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: algorithm needs a rate, as in "rate":5,"interval":"1s"`},
			{"check", "a", with(rate, client.WithAlgorithm("leaky")), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: algorithm: "leaky" is unknown; write token_bucket, leaky_bucket, sliding_window, fixed_window`},
			{"check", "a", with(rate, client.WithAlgorithm("")), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: algorithm: the name is empty; leave it out for token_bucket`},
			{"check", "a", with(client.WithCost(-1)), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: cost: -1 must not be negative`},
			{"refund", "a", with(client.WithCost(-1)), client.ErrInvalidRequest, `ratelimit: refund "a": invalid_request: cost: -1 must not be negative`},
			{"check", "a", with(client.WithPolicy("")), client.ErrInvalidRequest, `ratelimit: check "a": invalid_request: policy: the name is empty; leave it out for the policy that matches the key`},
			{"peek", "a", with(client.WithCost(2)), client.ErrInvalidRequest, `ratelimit: peek "a": invalid_request: cost: a peek has none; leave it out`},
			{"reset", "a", with(client.WithCost(0)), client.ErrInvalidRequest, `ratelimit: reset "a": invalid_request: cost: a reset has none; leave it out`},
		} {
			_, err := verbs[tt.verb](c, t.Context(), tt.key, tt.opts...)
			if !errors.Is(err, tt.is) || err.Error() != tt.want {
				t.Errorf("%s %.20q:\ngot  %v\nwant %s", tt.verb, tt.key, err, tt.want)
			}
		}
		if n := worker.count(); n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
}

// TestConcurrent mixes requests of different lengths, to see that no answer
// and no pooled body gets to somebody else.
func TestConcurrent(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var worker buckets
		serve(t, srv, worker.handle)
		c := newClient(t, srv, way...)
		var wg sync.WaitGroup
		for g := range 20 {
			wg.Go(func() {
				key := client.KeyOf("g", strings.Repeat("x", g), fmt.Sprint(g))
				if g == 0 {
					key = "g0"
				}
				burst := int64(1000 + g)
				for i := range int64(50) {
					res, err := c.Check(t.Context(), key, client.WithRate(1, time.Minute), client.WithBurst(burst))
					if err != nil || !res.Allowed || res.Key != key || res.Limit != burst || res.Remaining != burst-2*i-1 {
						t.Errorf("%s: check %d: %+v, %v", key, i, res, err)
						return
					}
					each, err := c.CheckEach(t.Context(), []client.Item{{Key: key, Options: []client.CheckOption{client.WithRate(burst, time.Minute)}}})
					if err != nil || !each.Allowed() || each[0].Key != key || each[0].Remaining != burst-2*i-2 {
						t.Errorf("%s: check %d: %+v, %v", key, i, each, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}
