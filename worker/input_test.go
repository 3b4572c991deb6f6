package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// Whatever comes in, the answer says what is wrong with it, and the bucket of
// the good key that stands beside it is untouched.
func TestBadInput(t *testing.T) {
	const good = "ratelimit.check.k"
	long := strings.Repeat("a", 257)
	tokens := strings.Repeat("a.", 16) + "a"
	for _, test := range []struct {
		name, subject, body string
		code                wire.Code
		message             string
	}{
		{"no key anywhere", "ratelimit.check", "", wire.CodeInvalidKey, "the key is empty"},
		{"no key in the body", "ratelimit.check", `{"cost":1}`, wire.CodeInvalidKey, "the key is empty"},
		{"wildcard *", "ratelimit.check.*", "", wire.CodeInvalidKey, ""},
		{"wildcard >", "ratelimit.check.>", "", wire.CodeInvalidKey, ""},
		{"wildcard a.>", "ratelimit.check.a.>", "", wire.CodeInvalidKey, ""},
		{"NUL", "ratelimit.check.a\x00b", "", wire.CodeInvalidKey, ""},
		{"not UTF-8", "ratelimit.check.\xff\xfe", "", wire.CodeInvalidKey, ""},
		{"not ASCII", "ratelimit.check.Malm\u00f6", "", wire.CodeInvalidKey, ""},
		{"zero width", "ratelimit.check.a\u200bb", "", wire.CodeInvalidKey, ""},
		{"braces", "ratelimit.check.{a}", "", wire.CodeInvalidKey, "%7B"},
		{"needless escape", "ratelimit.check.%41", "", wire.CodeInvalidKey, ""},
		{"257 bytes", "ratelimit.check." + long, "", wire.CodeInvalidKey, "256"},
		{"3900 bytes", "ratelimit.check." + strings.Repeat("a", 3900), "", wire.CodeInvalidKey, "256"},
		{"17 tokens", "ratelimit.check." + tokens, "", wire.CodeInvalidKey, "16"},
		{"bad key in the body", "ratelimit.check", `{"key":"a b"}`, wire.CodeInvalidKey, "a%20b"},
		{"two keys", good, `{"key":"other"}`, wire.CodeInvalidRequest, "name it once"},

		{"null", good, `null`, wire.CodeInvalidRequest, "must be empty or a JSON object"},
		{"array", good, `[]`, wire.CodeInvalidRequest, "an array"},
		{"string", good, `"x"`, wire.CodeInvalidRequest, "a string"},
		{"number", good, `1`, wire.CodeInvalidRequest, ""},
		{"two documents", good, `{}{}`, wire.CodeInvalidRequest, ""},
		{"byte order mark", good, "\xef\xbb\xbf{}", wire.CodeInvalidRequest, "byte order mark"},
		{"not JSON", good, "hello", wire.CodeInvalidRequest, ""},
		{"cost twice", good, `{"cost":1,"cost":1000}`, wire.CodeInvalidRequest, "twice"},
		{"COST", good, `{"COST":1}`, wire.CodeInvalidRequest, `did you mean "cost"`},
		{"unknown field", good, `{"cosst":1}`, wire.CodeInvalidRequest, `did you mean "cost"`},
		{"cost null", good, `{"cost":null}`, wire.CodeInvalidRequest, "cost"},
		{"cost string", good, `{"cost":"1"}`, wire.CodeInvalidRequest, "cost"},
		{"cost 1.0", good, `{"cost":1.0}`, wire.CodeInvalidRequest, "cost"},
		{"cost 1e2", good, `{"cost":1e2}`, wire.CodeInvalidRequest, "cost"},
		{"cost -1", good, `{"cost":-1}`, wire.CodeInvalidRequest, "cost"},
		{"cost 2^63", good, `{"cost":9223372036854775808}`, wire.CodeInvalidRequest, "cost"},
		{"cost 2^53+1", good, `{"cost":9007199254740993}`, wire.CodeInvalidRequest, "cost"},
		{"cost > burst", good, `{"cost":6}`, wire.CodeCostExceedsBurst, "cost 6 is more than the burst of 5"},
		{"cost > inline burst", good, `{"rate":2,"interval":"1s","cost":3}`, wire.CodeCostExceedsBurst, `cost 3 is more than the burst of 2 of limit "inline" and`},
		{"rate 2^53", good, `{"rate":9007199254740992,"interval":"1s"}`, wire.CodeLimitNotRepresentable, "2^53"},
		{"rate 0", good, `{"rate":0,"interval":"1s"}`, wire.CodeInvalidRequest, "rate"},
		{"rate 1e308", good, `{"rate":1e308,"interval":"1s"}`, wire.CodeInvalidRequest, "rate"},
		{"interval 0s", good, `{"rate":1,"interval":"0s"}`, wire.CodeInvalidRequest, "interval"},
		{"interval that rounds to 0", good, `{"rate":1,"interval":"0.0000000001s"}`, wire.CodeInvalidRequest, "interval"},
		{"interval of 292 years", good, `{"rate":1,"interval":"2562047h"}`, wire.CodeInvalidRequest, "interval"},
		{"interval without unit", good, `{"rate":1,"interval":"1"}`, wire.CodeInvalidRequest, "interval"},
		{"rate alone", good, `{"rate":1}`, wire.CodeInvalidRequest, "interval"},
		{"burst 0", good, `{"rate":1,"interval":"1s","burst":0}`, wire.CodeInvalidRequest, "burst"},
		{"too fine", good, `{"rate":7,"interval":"8784h","burst":142000000000000}`, wire.CodeLimitNotRepresentable, "2^53"},
		{"unknown policy", good, `{"policy":"gold"}`, wire.CodeUnknownPolicy, "gold"},
		{"unknown algorithm", good, `{"rate":1,"interval":"1s","algorithm":"magic"}`, wire.CodeInvalidRequest, "token_bucket"},
		{"nested 20,000 deep", good, strings.Repeat("[", 20000), wire.CodeInvalidRequest, ""},
		{"larger than a request", good, `{"cost":1` + strings.Repeat(" ", wire.MaxRequest) + `}`, wire.CodeInvalidRequest, "must have at most"},
		{"no checks", "ratelimit.check", `{"checks":[]}`, wire.CodeInvalidRequest, "at least one"},
		{"257 checks", "ratelimit.check", `{"checks":[` + strings.Repeat(`{"key":"k"},`, 256) + `{"key":"k"}]}`, wire.CodeInvalidRequest, "256"},
		{"checks of checks", "ratelimit.check", `{"checks":[{"key":"k","checks":[]}]}`, wire.CodeInvalidRequest, ""},
		{"key beside checks", "ratelimit.check", `{"key":"a","checks":[{"key":"k"}]}`, wire.CodeInvalidRequest, "beside checks"},
		{"unknown mode", "ratelimit.check", `{"mode":"some","checks":[{"key":"k"}]}`, wire.CodeInvalidRequest, "each"},
		{"bad prefix", "ratelimit.check.>", `{"checks":[{"key":"k"}]}`, wire.CodeInvalidKey, ""},

		{"peek with a cost", "ratelimit.peek.k", `{"cost":2}`, wire.CodeInvalidRequest, "a peek has none"},
		{"reset with a cost", "ratelimit.reset.k", `{"cost":2}`, wire.CodeInvalidRequest, "a reset has none"},
		{"refund of -1", "ratelimit.refund.k", `{"cost":-1}`, wire.CodeInvalidRequest, "cost"},
		{"peek without key", "ratelimit.peek", ``, wire.CodeInvalidKey, "empty"},
		{"reset without key", "ratelimit.reset", ``, wire.CodeInvalidKey, "empty"},
		{"refund without key", "ratelimit.refund", ``, wire.CodeInvalidKey, "empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
				r.wantError(test.code, test.message, test.subject, test.body)
				if got := r.one("ratelimit.peek.k", ""); got.Remaining != 5 {
					t.Errorf("afterwards the bucket of k holds %d tokens, want 5", got.Remaining)
				}
			})
		})
	}
}

func TestWhoseLimitCounts(t *testing.T) {
	const inline = `{"rate":2,"interval":"1s"}`
	for name, test := range map[string]struct {
		options     Options
		body        string
		limitName   string
		code        wire.Code
		explanation string
	}{
		"inline before default":   {Options{InlineLimits: InlineUnmatched, DefaultLimit: perSecond}, inline, "inline", "", ""},
		"default without inline":  {Options{InlineLimits: InlineUnmatched, DefaultLimit: perSecond}, "", "default", "", ""},
		"inline refused":          {Options{DefaultLimit: perSecond}, inline, "", wire.CodeInlineLimitRefused, "leave out rate"},
		"nothing applies":         {Options{InlineLimits: InlineUnmatched}, "", "", wire.CodeNoPolicy, `{"rate":5,"interval":"1s"}`},
		"nothing could apply":     {Options{}, "", "", wire.CodeNoPolicy, "ask the operator"},
		"the name is the default": {Options{DefaultLimit: limiter.Limit{Name: "gold", Rate: 1, Interval: time.Second}}, "", "default", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, test.options)
				if test.code != "" {
					r.wantError(test.code, test.explanation, "ratelimit.check.k", test.body)
				} else if got := r.one("ratelimit.check.k", test.body); got.LimitName != test.limitName {
					t.Errorf("got %+v, want the limit %q", got, test.limitName)
				}
			})
		})
	}
}

func TestSeveralChecks(t *testing.T) {
	for name, test := range map[string]struct{ subject, body, want string }{
		"each on its own": {
			"ratelimit.check",
			`{"checks":[{"key":"a","cost":5},{"key":"a"},{"key":"b","cost":6},{"key":"b","cost":2}],"mode":"each"}`,
			`a allowed 0, a denied 0, b cost_exceeds_burst, b allowed 3; allowed false`,
		},
		"one bucket twice": {
			"ratelimit.check", `{"checks":[{"key":"a"},{"key":"a"}]}`,
			`a allowed 4, a allowed 3; allowed true`,
		},
		"behind a prefix": {
			"ratelimit.check.acme.eu", `{"checks":[{"key":"user.1"},{"key":"` + strings.Repeat("x", 250) + `"},{"key":"user.2"}]}`,
			`acme.eu.user.1 allowed 4, acme.eu.` + strings.Repeat("x", 250) + ` invalid_key, acme.eu.user.2 allowed 4; allowed false`,
		},
		"peeks": {
			"ratelimit.peek", `{"checks":[{"key":"a"},{"key":"b"}]}`,
			`a allowed 5, b allowed 5; allowed true`,
		},
		"all refused": {
			"ratelimit.check", `{"checks":[{"key":"a","policy":"gold"}]}`,
			`a unknown_policy; allowed false`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, Options{DefaultLimit: perSecond})
				msg := r.ask(test.subject, test.body)
				if got := msg.Header.Get(wire.HeaderErrorCode); got != "" {
					t.Errorf("the reply is marked as error %s", got)
				}
				if got := describe(t, msg); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

func describe(t *testing.T, msg *nats.Msg) string {
	t.Helper()
	replies, err := wire.DecodeReplies(msg.Data)
	if err != nil || replies.Err != nil {
		t.Fatalf("%s: %v %v", msg.Data, err, replies.Err)
	}
	var parts []string
	for _, r := range replies.Results {
		switch {
		case r.Err != nil:
			parts = append(parts, fmt.Sprintf("%s %s", r.Key, r.Err.Code))
		case r.Allowed:
			parts = append(parts, fmt.Sprintf("%s allowed %d", r.Key, r.Remaining))
		default:
			parts = append(parts, fmt.Sprintf("%s denied %d", r.Key, r.Remaining))
		}
	}
	return fmt.Sprintf("%s; allowed %v", strings.Join(parts, ", "), replies.Allowed)
}

// As many checks as a request can hold, with keys as long as they can be.
func TestLargestRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond})
		var checks []string
		for i := range wire.MaxChecks {
			checks = append(checks, fmt.Sprintf(`{"key":"%0200d"}`, i))
		}
		replies, err := wire.DecodeReplies(r.ask("ratelimit.check."+strings.Repeat("p", 50), `{"checks":[`+strings.Join(checks, ",")+`]}`).Data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range replies.Results {
			if got := &replies.Results[i]; got.Err != nil || !got.Allowed || !strings.HasSuffix(got.Key, fmt.Sprintf("%0200d", i)) {
				t.Fatalf("result %d is %+v", i, got)
			}
		}
		if got := len(replies.Results); got != wire.MaxChecks {
			t.Errorf("got %d results, want %d", got, wire.MaxChecks)
		}
	})
}

// A reply that does not fit is refused before anything is charged.
func TestReplyThatDoesNotFit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRigOn(t, 16<<10, nil, Options{DefaultLimit: perSecond})
		body := `{"checks":[` + strings.Repeat(`{"key":"k"},`, 255) + `{"key":"k"}]}`
		r.wantError(wire.CodeInvalidRequest, "may not fit into the 16384 bytes", "ratelimit.check", body)
		if got := r.one("ratelimit.peek.k", ""); got.Remaining != 5 {
			t.Errorf("%d tokens are left, want 5", got.Remaining)
		}
	})
}

// Messages that nobody could be answered are not charged.
func TestNoReply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond})
		for _, reply := range []string{"", "ratelimit.check.victim", "ratelimit.reset.k", "$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.x"} {
			var got int
			if reply != "" {
				sub, err := r.nc.Subscribe(reply, func(m *nats.Msg) { got++ })
				if err != nil {
					t.Fatal(err)
				}
				defer sub.Unsubscribe()
			}
			if err := r.nc.PublishMsg(&nats.Msg{Subject: "ratelimit.check.k", Reply: reply}); err != nil {
				t.Fatal(err)
			}
			if after := r.one("ratelimit.peek.k", ""); after.Remaining != 5 {
				t.Errorf("reply subject %q: the check was charged", reply)
			}
			if got > 0 {
				t.Errorf("reply subject %q: got %d messages", reply, got)
			}
		}
		r.wantMetrics(map[string]float64{
			`ratelimit_shed_total{reason="no_reply_subject"}`:      1,
			`ratelimit_shed_total{reason="refused_reply_subject"}`: 4,
		})
	})
}

// Inboxes can have any prefix, and a strange one does no harm.
func TestAnyInbox(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond})
		for _, prefix := range []string{"_INBOX_app", "_INBOX.acme", "replies"} {
			r.nc = connect(t, r.srv, nats.CustomInboxPrefix(prefix))
			if got := r.one("ratelimit.check.k", ""); !got.Allowed {
				t.Errorf("with inbox prefix %q: %+v", prefix, got)
			}
		}
		for _, reply := range []string{"a.*", ">", "a..b", ".", strings.Repeat("r", 4000)} {
			if err := r.nc.PublishRequest("ratelimit.check.k", reply, nil); err != nil && !errors.Is(err, nats.ErrBadSubject) {
				t.Fatalf("%q: %v", reply, err)
			}
		}
		if got := r.one("ratelimit.peek.k", ""); got.Err != nil || !r.workerNC.IsConnected() {
			t.Errorf("strange reply subjects cost the worker its connection: %+v", got)
		}
	})
}

// The handler gets along with anything, and answers exactly once.
func FuzzHandle(f *testing.F) {
	f.Add("check", "user.42", []byte(`{"rate":5,"interval":"1s"}`), "100")
	f.Add("check", "", []byte(`{"key":"a"}`), "")
	f.Add("refund", "acme", []byte(`{"checks":[{"key":"a"},{"key":"b","cost":7}]}`), "-1")
	f.Add("reset", "%2E", []byte(`{}`), "99999999999999999999")
	f.Add("peek", "a..b", []byte(`{"cost":2}`), "0")
	r := newRig(f, nil, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
	f.Fuzz(func(t *testing.T, verb, key string, body []byte, timeout string) {
		subject := "ratelimit.check." + key
		for _, v := range verbs {
			if string(v.verb) == verb {
				subject = wire.Subject(v.verb, key)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		msg, err := r.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: body, Header: nats.Header{wire.HeaderTimeout: {timeout}}})
		switch {
		case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrMaxPayload):
			return // it did not get to the worker
		case err != nil:
			t.Fatalf("%q %q: %v", subject, body, err)
		}
		one, errOne := wire.DecodeReply(msg.Data)
		_, errMany := wire.DecodeReplies(msg.Data)
		if errOne != nil && errMany != nil {
			t.Errorf("%q %q answered %q", subject, body, msg.Data)
		}
		if errMany != nil && one.Err == nil && wire.CheckKey(one.Key) != nil {
			t.Errorf("%q %q was decided about the key %q", subject, body, one.Key)
		}
	})
}
