package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

const document = `
plans:
  free: {second: 2/s, day: 10/d}
policies:
  - {match: user.*, name: users, plan: free}
  - {match: user.root, name: root, unlimited: true}
  - {match: user.mallory, name: blocked, deny: true}
  - {match: user.soft, name: soft, deny: true, mode: shadow}
  - {match: shadow.*, name: shadow, limits: 1/h, mode: shadow}
  - {match: none.*, name: none, limits: 1/h, enforce_percent: 0}
  - {match: off.*, name: off, limits: 1/h, mode: "off"}
  - {match: export.*, name: export, limits: {default: {rate: 10, interval: 1h, cost: 5}}}
  - {match: slow.*, name: slow, limits: {queue: {rate: 10, interval: 1s, burst: 5, algorithm: leaky_bucket}}}
  - {name: vip, limits: 100/h}
overrides:
  - {match: user.7, limits: 50/s}
`

func book(t testing.TB, text string) *policy.Book {
	t.Helper()
	b := policy.NewBook()
	if err := b.Load("test.yaml", []byte(text), "1"); err != nil {
		t.Fatal(err)
	}
	return b
}

// say writes what matters of a reply in a few words.
func say(r *wire.Reply) string {
	if r.Err != nil {
		return string(r.Err.Code)
	}
	word := "denied"
	if r.Allowed {
		word = "allowed"
	}
	s := fmt.Sprintf("%s by %s/%s", word, r.Policy, r.LimitName)
	if r.Limit > 0 {
		s += fmt.Sprintf(" %d of %d", r.Remaining, r.Limit)
	}
	for _, l := range r.Limits {
		s += fmt.Sprintf(" %s=%d", l.Name, l.Remaining)
		if l.RetryAfterMS > 0 {
			s += "!"
		}
	}
	if r.RetryAfterMS > 0 {
		s += fmt.Sprintf(" retry %d", r.RetryAfterMS)
	}
	if r.DelayMS > 0 {
		s += fmt.Sprintf(" delay %d", r.DelayMS)
	}
	if r.WouldDeny {
		s += " would deny"
	}
	if !r.Degraded {
		s += " shared" // of a policy that needs no store
	}
	return s
}

// TestPolicies asks step by step, all at one moment of a fake clock.
func TestPolicies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{Policies: book(t, document), InlineLimits: InlineUnmatched, DefaultLimit: perSecond})
		for i, step := range []struct{ subject, body, want string }{
			{"check.user.1", ``, "allowed by users/second 1 of 2 second=1 day=9"},
			{"check.user.1", `{"rate":100,"interval":"1s"}`, "allowed by users/second 0 of 2 second=0 day=8"}, // the policy counts
			{"check.user.1", ``, "denied by users/second 0 of 2 second=0! day=8 retry 500"},
			{"peek.user.1", ``, "allowed by users/second 0 of 2 second=0 day=8"},
			{"refund.user.1", ``, "allowed by users/second 1 of 2 second=1 day=9"},
			{"reset.user.1", ``, "allowed by users/second 2 of 2 second=2 day=10"},
			{"check.user.1", `{"cost":3}`, "cost_exceeds_burst"},
			{"check.user.7", ``, "allowed by users/default 49 of 50"},
			{"check.user.root", `{"cost":1000000}`, "allowed by root/ shared"},
			{"check.user.mallory", ``, "denied by blocked/ shared"},
			{"check.user.mallory", `{"cost":0}`, "denied by blocked/ shared"},
			{"peek.user.mallory", ``, "allowed by blocked/ shared"},
			{"check.user.soft", ``, "allowed by soft/ would deny shared"},
			{"check.shadow.1", ``, "allowed by shadow/default 0 of 1"},
			{"check.shadow.1", ``, "allowed by shadow/default 0 of 1 would deny"},
			{"check.none.1", ``, "allowed by none/default 0 of 1"},
			{"check.none.1", ``, "allowed by none/default 0 of 1 would deny"},
			{"check.off.1", ``, "allowed by off/ shared"},
			{"check.off.1", ``, "allowed by off/ shared"},
			{"check.export.1", ``, "allowed by export/default 5 of 10"},
			{"check.export.1", `{"cost":1}`, "allowed by export/default 4 of 10"},
			{"check.export.1", ``, "denied by export/default 4 of 10 retry 360000"},
			{"refund.export.1", ``, "allowed by export/default 9 of 10"},
			{"check.slow.1", ``, "allowed by slow/queue 4 of 5"},
			{"check.slow.1", ``, "allowed by slow/queue 3 of 5 delay 100"},
			{"check.user.2", `{"policy":"vip"}`, "allowed by vip/default 99 of 100"},
			{"check.user.2", `{"policy":"users"}`, "allowed by users/second 1 of 2 second=1 day=9"},
			{"check.user.2", `{"policy":"gold"}`, "unknown_policy"},
			{"check.user.2", `{"policy":"vip","rate":1,"interval":"1s"}`, "invalid_request"},
			{"check.other", ``, "allowed by /default 4 of 5"},
			{"check.other", `{"rate":9,"interval":"1s"}`, "allowed by /inline 8 of 9"},
			{"check.leak", `{"rate":10,"interval":"1s","algorithm":"leaky_bucket"}`, "allowed by /inline 9 of 10"},
			{"check.leak", `{"rate":10,"interval":"1s","algorithm":"leaky_bucket"}`, "allowed by /inline 8 of 10 delay 100"},
		} {
			reply := r.one("ratelimit."+step.subject, step.body)
			if got := say(&reply); got != step.want {
				t.Errorf("step %d, %s %s:\n got %s\nwant %s", i, step.subject, step.body, got, step.want)
			}
		}
		r.wantMetrics(map[string]float64{
			`ratelimit_would_deny_total`: 3,
			`ratelimit_checks_total{result="denied",source="policy",verb="check"}`: 2,
		})
	})
}

func TestInlineLimits(t *testing.T) {
	const inline = `{"rate":9,"interval":"1s"}`
	for name, test := range map[string]struct {
		mode               Inline
		matched, unmatched string
	}{
		"never":     {InlineNever, "inline_limit_refused", "inline_limit_refused"},
		"unmatched": {InlineUnmatched, "allowed by users/second 1 of 2 second=1 day=9", "allowed by /inline 8 of 9"},
		"always":    {InlineAlways, "allowed by /inline 8 of 9", "allowed by /inline 8 of 9"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, Options{Policies: book(t, document), InlineLimits: test.mode})
				for key, want := range map[string]string{"user.1": test.matched, "other": test.unmatched} {
					reply := r.one("ratelimit.check."+key, inline)
					if got := say(&reply); got != want {
						t.Errorf("%s: got %s, want %s", key, got, want)
					}
				}
			})
		})
	}
}

// TestPoliciesChange changes them under a bucket: it keeps its time to full.
func TestPoliciesChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := book(t, `policies: [{match: k, limits: 10/h}]`)
		r := newRig(t, nil, Options{Policies: b})
		for i, step := range []struct{ text, want string }{
			{``, "allowed by k/default 9 of 10"},
			{`policies: [{match: k, limits: 20/h}]`, "allowed by k/default 17 of 20"},
			{`policies: [{match: k, limits: nonsense}]`, "allowed by k/default 16 of 20"},
			{`policies: [{match: other, limits: 20/h}]`, "no_policy"},
		} {
			if step.text != "" {
				_ = b.Load("test.yaml", []byte(step.text), fmt.Sprint(i))
			}
			reply := r.one("ratelimit.check.k", "")
			if got := say(&reply); got != step.want {
				t.Errorf("step %d: got %s, want %s", i, got, step.want)
			}
		}
	})
}

// TestTogether takes several keys all or none.
func TestTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{Policies: book(t, document), DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
		all := func(keys ...string) string {
			return `{"mode":"all","checks":[{"key":"` + strings.Join(keys, `"},{"key":"`) + `"}]}`
		}
		for i, step := range []struct{ body, want string }{
			{all("a", "user.1"), "true 0: allowed by /default 4 of 5; allowed by users/second 1 of 2 second=1 day=9"},
			{all("a", "user.1"), "true 0: allowed by /default 3 of 5; allowed by users/second 0 of 2 second=0 day=8"},
			{all("a", "user.1", "b"), "false 500: allowed by /default 3 of 5; denied by users/second 0 of 2 second=0! day=8 retry 500; allowed by /default 5 of 5"},
			{all("a", "user.mallory"), "false 0: allowed by /default 3 of 5; denied by blocked/ shared"},
			{all("a", "user.root"), "true 0: allowed by /default 2 of 5; allowed by root/ shared"},
			{all("a", "shadow.1"), "true 0: allowed by /default 1 of 5; allowed by shadow/default 0 of 1"},
			{all("a", "shadow.1"), "true 0: allowed by /default 0 of 5; allowed by shadow/default 0 of 1 would deny"},
			{all("user.root", "user.soft"), "true 0: allowed by root/ shared; allowed by soft/ would deny shared"},
		} {
			replies, err := wire.DecodeReplies(r.ask("ratelimit.check", step.body).Data)
			if err != nil || replies.Err != nil {
				t.Errorf("step %d: %v, %v", i, replies.Err, err)
				continue
			}
			var parts []string
			for j := range replies.Results {
				parts = append(parts, say(&replies.Results[j]))
			}
			if got := fmt.Sprintf("%t %d: %s", replies.Allowed, replies.RetryAfterMS, strings.Join(parts, "; ")); got != step.want {
				t.Errorf("step %d, %s:\n got %s\nwant %s", i, step.body, got, step.want)
			}
		}
		r.wantError(wire.CodeInvalidRequest, "named twice", "ratelimit.check", all("c", "c"))
		var nine []string
		for i := range 9 {
			nine = append(nine, fmt.Sprint("user.1", i))
		}
		r.wantError(wire.CodeInvalidRequest, "have 18 limits together and can have at most 16", "ratelimit.check", all(nine...))
		r.wantError(wire.CodeCostExceedsBurst, "cost 6", "ratelimit.check", `{"mode":"all","checks":[{"key":"c"},{"key":"d","cost":6}]}`)
		r.wantError(wire.CodeUnknownPolicy, "checks[1]: ", "ratelimit.check", `{"mode":"all","checks":[{"key":"c"},{"key":"d","policy":"gold"}]}`)
		if got := r.one("ratelimit.peek.c", ""); got.Remaining != 5 {
			t.Errorf("a refused request took tokens: %+v", got)
		}
	})
}

// TestInTurn: what a store decided slot by slot is answered with a word of it.
func TestInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, turns{}, Options{DefaultLimit: perSecond})
		for body, want := range map[string]string{
			`{"mode":"all","checks":[{"key":"a"},{"key":"b"}]}`: `{"allowed":true,"in_turn":true,"results":[`,
			`{"checks":[{"key":"a"},{"key":"b"}]}`:              `{"allowed":true,"results":[`,
		} {
			if got := string(r.ask("ratelimit.check", body).Data); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %s, want %s...", body, got, want)
			}
		}
	})
}

// turns grants everything, several demands in turn.
type turns struct{}

func (turns) Submit(items ...batch.Item) (int, error) {
	for _, item := range items {
		n := len(item.Check().Demands)
		item.Done(&limiter.Result{Allowed: true, Source: limiter.SourceRedis, InTurn: n > 1, Levels: slices.Repeat([]limiter.Level{{Admitted: true}}, n)}, nil)
	}
	return len(items), nil
}
