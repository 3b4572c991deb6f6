package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// sentinels are all errors of the package that errors.Is can look for.
var sentinels = map[string]error{
	"ErrInvalidKey":            client.ErrInvalidKey,
	"ErrInvalidRequest":        client.ErrInvalidRequest,
	"ErrCostExceedsBurst":      client.ErrCostExceedsBurst,
	"ErrLimitNotRepresentable": client.ErrLimitNotRepresentable,
	"ErrUnknownPolicy":         client.ErrUnknownPolicy,
	"ErrNoPolicy":              client.ErrNoPolicy,
	"ErrInlineLimitRefused":    client.ErrInlineLimitRefused,
	"ErrTimeout":               client.ErrTimeout,
	"ErrOverloaded":            client.ErrOverloaded,
	"ErrUnavailable":           client.ErrUnavailable,
	"ErrNoWorkers":             client.ErrNoWorkers,
	"ErrDisconnected":          client.ErrDisconnected,
	"ErrPermission":            client.ErrPermission,
}

// checkError fails the test unless err matches the sentinels that are named,
// and no other, and its message contains text.
func checkError(t *testing.T, err error, text string, names ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	for name, sentinel := range sentinels {
		if got := errors.Is(err, sentinel); got != want[name] {
			t.Errorf("%v\nis %s: %v, want %v", err, name, got, want[name])
		}
	}
	var e *client.Error
	if got := errors.As(err, &e); got != (len(names) > 0) {
		t.Errorf("%v\nis an *Error: %v", err, got)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got  %v\nwant something with %s", err, text)
	}
}

func TestErrorsOfWorkers(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		for code, name := range map[wire.Code]string{
			wire.CodeInvalidKey:            "ErrInvalidKey",
			wire.CodeInvalidRequest:        "ErrInvalidRequest",
			wire.CodeCostExceedsBurst:      "ErrCostExceedsBurst",
			wire.CodeLimitNotRepresentable: "ErrLimitNotRepresentable",
			wire.CodeUnknownPolicy:         "ErrUnknownPolicy",
			wire.CodeNoPolicy:              "ErrNoPolicy",
			wire.CodeInlineLimitRefused:    "ErrInlineLimitRefused",
			wire.CodeDeadlineExceeded:      "ErrTimeout",
			wire.CodeOverloaded:            "ErrOverloaded",
			wire.CodeUnavailable:           "ErrUnavailable",
		} {
			t.Run(name, func(t *testing.T) {
				srv := startServer(t, server.Options{})
				serve(t, srv, func(msg *nats.Msg) {
					reply := nats.NewMsg(msg.Reply)
					reply.Header.Set(wire.HeaderError, string(code))
					reply.Header.Set(wire.HeaderErrorCode, "999")
					reply.Data = wire.AppendError(nil, wire.Errorf(code, "do this"))
					_ = msg.RespondMsg(reply)
				})
				c := newClient(t, srv, way...)
				_, err := c.Check(t.Context(), "user.42")
				checkError(t, err, `ratelimit: check "user.42": `+string(code)+`: do this`, name)
				var e *client.Error
				if !errors.As(err, &e) || e.Code != code || e.Message != "do this" {
					t.Errorf("got %#v", e)
				}
				_, err = c.CheckEach(t.Context(), []client.Item{{Key: "a"}, {Key: "b"}})
				checkError(t, err, `ratelimit: check 2 items: `+string(code)+`: do this`, name)
			})
		}
	})
}

// TestErrorIs has an error that is told by its code, and one that is not.
func TestErrorIs(t *testing.T) {
	err := &client.Error{Code: wire.CodeNoPolicy, Message: "no policy matches a"}
	if !errors.Is(err, client.ErrNoPolicy) {
		t.Error("it is not ErrNoPolicy")
	}
	if errors.Is(err, &client.Error{Code: wire.CodeNoPolicy, Message: "no policy matches b"}) {
		t.Error("it is an error about something else")
	}
	if got, want := client.ErrNoPolicy.Error(), "no_policy"; got != want {
		t.Errorf("ErrNoPolicy says %q, want %q", got, want)
	}
}

// TestBadReplies has answers that no worker gives.
func TestBadReplies(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		var data []byte
		var header nats.Header
		serve(t, srv, func(msg *nats.Msg) {
			_ = msg.RespondMsg(&nats.Msg{Subject: msg.Reply, Data: data, Header: header})
		})
		c := newClient(t, srv, way...)
		ok := wire.AppendReply(nil, &wire.Reply{Allowed: true})
		for _, tt := range []struct {
			name   string
			data   string
			header nats.Header
			want   string
		}{
			{"empty", "", nil, "does not speak as a worker does"},
			{"text", "hello", nil, "does not speak as a worker does"},
			{"empty object", "{}", nil, "does not speak as a worker does"},
			{"binary", "\x00\xff\xfe", nil, "does not speak as a worker does"},
			{"large", strings.Repeat("[", 1<<20), nil, "does not speak as a worker does"},
			{"negative", `{"allowed":true,"remaining":-1}`, nil, "does not speak as a worker does"},
			{"cut off", string(ok[:len(ok)-1]), nil, "does not speak as a worker does"},
			{"marked as an error", string(ok), nats.Header{wire.HeaderErrorCode: {"500"}, wire.HeaderError: {"boom \"\x01\""}}, `"boom \"\x01\""`},
			{"marked as an error, empty", "", nats.Header{wire.HeaderErrorCode: {"500"}}, `"500"`},
			{"marked as an error, at length", "", nats.Header{wire.HeaderErrorCode: {strings.Repeat("5", 5000)}}, `"5555555555"`},
		} {
			data, header = []byte(tt.data), tt.header
			_, err := c.Check(t.Context(), "a")
			checkError(t, err, tt.want, "ErrUnavailable")
			if len(err.Error()) > 500 {
				t.Errorf("%s: the error has %d bytes", tt.name, len(err.Error()))
			}
			_, err = c.CheckEach(t.Context(), []client.Item{{Key: "a"}})
			checkError(t, err, tt.want, "ErrUnavailable")
		}

		// One result too few or too many would give one caller another's answer.
		data, header = wire.AppendReplies(nil, &wire.Replies{Allowed: true, Results: []wire.Reply{{Allowed: true}, {Allowed: true}}}), nil
		for _, n := range []int{1, 3} {
			_, err := c.CheckEach(t.Context(), someItems(n))
			checkError(t, err, "2 results for", "ErrUnavailable")
		}
		// An error with a code of the future matches nothing here.
		data = []byte(`{"error":{"code":"out_of_cheese","message":"redo from start"}}`)
		_, err := c.Check(t.Context(), "a")
		var e *client.Error
		if !errors.As(err, &e) || e.Code != "out_of_cheese" || errors.Is(err, client.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// someItems returns up to three items.
func someItems(n int) []client.Item {
	return []client.Item{{Key: "a"}, {Key: "b"}, {Key: "c"}}[:n]
}

func TestNoWorkers(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		c := newClient(t, srv, way...)
		start := time.Now()
		_, err := c.Check(t.Context(), "user.42")
		checkError(t, err, `no workers listen on "ratelimit.check`, "ErrNoWorkers", "ErrUnavailable")
		if !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%v is not nats.ErrNoResponders", err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %s to notice", d)
		}
		varz, err := srv.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		if varz.InMsgs != 2 {
			t.Errorf("the request was sent %d times, want 2", varz.InMsgs)
		}
	})
}

// TestTimeout has a worker that charges and does not answer.
func TestTimeout(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		got := make(chan *nats.Msg, 10)
		serve(t, srv, func(msg *nats.Msg) { got <- msg })
		c := newClient(t, srv, append(way, client.WithTimeout(50*time.Millisecond))...)

		_, err := c.Check(t.Context(), "a")
		checkError(t, err, "no answer within ", "ErrTimeout")
		if !strings.Contains(err.Error(), "may have been charged") {
			t.Errorf("%v does not say that it may have been charged", err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not context.DeadlineExceeded", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err = c.Check(ctx, "a")
		checkError(t, err, "no answer within ", "ErrTimeout")
		if len(got) != 2 {
			t.Errorf("2 checks were sent %d times", len(got))
		}

		// The time of ctx is over by now.
		_, err = c.Check(ctx, "a")
		checkError(t, err, "not sent", "ErrTimeout")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not context.DeadlineExceeded", err)
		}
		if len(got) != 2 {
			t.Error("a check was sent after its deadline")
		}
	})
}

func TestCancel(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		serve(t, srv, func(*nats.Msg) { cancel() })
		c := newClient(t, srv, way...)
		_, err := c.Check(ctx, "a")
		checkError(t, err, "canceled while waiting")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not context.Canceled", err)
		}
		_, err = c.Check(ctx, "a")
		checkError(t, err, "not sent")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not context.Canceled", err)
		}
	})
}

// TestServerRestart sees to it that checks fail fast while the server is away,
// that none of them is carried out later, and that the client comes back, with
// the recommended options and with those that NATS has by default.
func TestServerRestart(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		for name, opts := range map[string][]nats.Option{
			"recommended": client.ConnectOptions(),
			"default":     {nats.ReconnectWait(10 * time.Millisecond)},
		} {
			t.Run(name, func(t *testing.T) {
				srv := newServer(server.Options{})
				port := srv.Addr().(*net.TCPAddr).Port
				arrived := make(chan *nats.Msg, 100)
				serve(t, srv, func(msg *nats.Msg) {
					subject, _ := asked(msg)
					if subject == "ratelimit.check.slow" {
						arrived <- msg
						return
					}
					respond(msg, &wire.Reply{Allowed: true})
					if subject == "ratelimit.check.ghost" {
						arrived <- msg
					}
				}, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
				nc := connect(t, srv, opts...)
				c, err := client.New(nc, way...)
				if err != nil {
					t.Fatal(err)
				}

				// The server goes away while a check waits for its answer.
				lost := make(chan error)
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
					defer cancel()
					_, err := c.Check(ctx, "slow")
					lost <- err
				}()
				<-arrived
				stopServer(srv)
				checkError(t, <-lost, "may have been charged", "ErrDisconnected", "ErrUnavailable")

				start := time.Now()
				for range 10 {
					_, err := c.Check(t.Context(), "ghost")
					checkError(t, err, "nothing was sent", "ErrDisconnected", "ErrUnavailable")
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("10 checks without a server took %s", d)
				}

				startServer(t, server.Options{Port: port})
				for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
					if _, err := c.Check(t.Context(), "back"); err == nil {
						break
					} else if time.Now().After(deadline) {
						t.Fatal(err)
					}
				}
				if n := len(arrived); n != 0 {
					t.Errorf("%d checks were carried out after they had failed", n)
				}
			})
		}
	})
}

func TestClosedConnection(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{})
		nc := connect(t, srv)
		c, err := client.New(nc, way...)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, srv, func(*nats.Msg) { nc.Close() })
		_, err = c.Check(t.Context(), "a")
		checkError(t, err, "may have been charged", "ErrDisconnected", "ErrUnavailable")
		_, err = c.Check(t.Context(), "a")
		checkError(t, err, "(nats: connection closed), so nothing was sent", "ErrDisconnected", "ErrUnavailable")
	})
}

func TestPermissions(t *testing.T) {
	allow := func(subscribe string, publish ...string) *server.Permissions {
		return &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{subscribe}},
		}
	}
	srv := startServer(t, server.Options{Users: []*server.User{
		{Username: "worker", Password: "pw"},
		{Username: "acme", Password: "pw", Permissions: allow("_INBOX.acme.>", "ratelimit.*.acme", "ratelimit.*.acme.>")},
		{Username: "keys", Password: "pw", Permissions: allow("_INBOX.acme.>", "ratelimit.*.acme.>")},
		{Username: "batch", Password: "pw", Permissions: allow("_INBOX.acme.>", "ratelimit.check.acme")},
	}})
	var worker seen
	serve(t, srv, worker.handle, nats.UserInfo("worker", "pw"))
	const (
		together = "ratelimit.check.acme"         // the subject of messages with checks
		alone    = "ratelimit.check.acme.user.42" // of a check alone
	)
	bothWays(t, func(t *testing.T, way ...client.Option) {
		as := func(user string, opts ...nats.Option) *client.Client {
			c, err := client.New(connect(t, srv, append(opts, nats.UserInfo(user, "pw"))...), append(way, client.WithPrefix("acme"), client.WithTimeout(100*time.Millisecond))...)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		inbox := nats.CustomInboxPrefix("_INBOX.acme")
		items := []client.Item{{Key: "user.42"}}
		check := alone
		if len(way) == 0 {
			check = together
		}
		for user, may := range map[string][]string{"acme": {together, alone}, "keys": {alone}, "batch": {together}} {
			c := as(user, inbox)
			for subject, call := range map[string]func() error{
				check:    func() error { _, err := c.Check(t.Context(), "user.42"); return err },
				together: func() error { _, err := c.CheckEach(t.Context(), items); return err },
			} {
				err := call()
				if slices.Contains(may, subject) {
					if err != nil {
						t.Errorf("%s may publish on %s: %v", user, subject, err)
					}
					continue
				}
				checkError(t, err, `Permissions Violation for Publish to "`+subject+`"`, "ErrPermission", "ErrUnavailable")
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("%v is not nats.ErrPermissionViolation", err)
				}
			}
		}
		// This user may send, but not receive in an inbox of the usual name.
		_, err := as("acme").Check(t.Context(), "user.42")
		checkError(t, err, `Permissions Violation for Subscription to "_INBOX.`, "ErrPermission", "ErrUnavailable")
	})
}

// TestPermissionOfAnother has a timeout that an old violation does not explain.
func TestPermissionOfAnother(t *testing.T) {
	bothWays(t, func(t *testing.T, way ...client.Option) {
		srv := startServer(t, server.Options{Users: []*server.User{
			{Username: "worker", Password: "pw"},
			{Username: "app", Password: "pw", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"ratelimit.check", "ratelimit.check.b"}}}},
		}})
		serve(t, srv, func(*nats.Msg) {}, nats.UserInfo("worker", "pw"))
		c, err := client.New(connect(t, srv, nats.UserInfo("app", "pw")), append(way, client.WithTimeout(50*time.Millisecond))...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Check(t.Context(), "b")
		checkError(t, err, "refuses this user", "ErrPermission", "ErrUnavailable")
		_, err = c.Peek(t.Context(), "b")
		checkError(t, err, "may have been charged", "ErrTimeout")
	})
}

func TestMaxPayload(t *testing.T) {
	srv := startServer(t, server.Options{MaxPayload: 1024})
	var worker seen
	serve(t, srv, worker.handle)
	c := newClient(t, srv)
	items := make([]client.Item, client.MaxItems)
	for i := range items {
		items[i].Key = "some.key.or.other"
	}
	_, err := c.CheckEach(t.Context(), items)
	checkError(t, err, "larger than the NATS server accepts", "ErrInvalidRequest")
}
