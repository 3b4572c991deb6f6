package worker

import (
	"reflect"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// A bucket with burst 5 and rate 1/s, step by step, over raw NATS requests.
func TestScript(t *testing.T) {
	const limit = `"rate":1,"interval":"1s","burst":5`
	for name, o := range map[string]struct {
		options Options
		fields  string // of every body
		limit   string // its name
	}{
		"default limit": {Options{DefaultLimit: perSecond}, ``, "default"},
		"inline limit":  {Options{InlineLimits: InlineUnmatched}, limit + `,`, "inline"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, o.options)
				start := time.Now()
				for i, step := range []struct {
					at                      time.Duration
					cost                    string
					allowed                 bool
					remaining, retry, reset int64
				}{
					{0, "1", true, 4, 0, 1000},
					{0, "1", true, 3, 0, 2000},
					{0, "1", true, 2, 0, 3000},
					{0, "1", true, 1, 0, 4000},
					{0, "1", true, 0, 0, 5000},
					{0, "1", false, 0, 1000, 5000},
					{0, "0", true, 0, 0, 5000},
					{999 * time.Millisecond, "1", false, 0, 1, 4001},
					{3000 * time.Millisecond, "1", true, 2, 0, 3000},
					{3100 * time.Millisecond, "1", true, 1, 0, 3900},
					{3100 * time.Millisecond, "2", false, 1, 900, 3900},
					{8 * time.Second, "5", true, 0, 0, 5000},
				} {
					time.Sleep(step.at - time.Since(start))
					want := wire.Reply{Allowed: step.allowed, Key: "user_123", Limit: 5, Remaining: step.remaining,
						RetryAfterMS: step.retry, ResetAfterMS: step.reset, WindowMS: 5000,
						LimitName: o.limit, Source: "memory", Degraded: true}
					if got := r.one("ratelimit.check.user_123", `{`+o.fields+`"cost":`+step.cost+`}`); !reflect.DeepEqual(got, want) {
						t.Errorf("step %d at %s, cost %s:\n got %+v\nwant %+v", i, step.at, step.cost, got, want)
					}
				}
				r.wantError(wire.CodeCostExceedsBurst, "cost 6 is more than the burst of 5", "ratelimit.check.user_123", `{`+o.fields+`"cost":6}`)
			})
		})
	}
}

// The reply as it stands on the wire, for a body that is empty.
func TestReplyText(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond})
		msg := r.ask("ratelimit.check.user_123", "")
		want := `{"allowed":true,"key":"user_123","limit":5,"remaining":4,"retry_after_ms":0,"reset_after_ms":1000,"window_ms":5000,"limit_name":"default","source":"memory","degraded":true}`
		if got := string(msg.Data); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if len(msg.Header) > 0 {
			t.Errorf("the reply has headers: %v", msg.Header)
		}
	})
}

// The other verbs, on a bucket of which three tokens are taken.
func TestVerbs(t *testing.T) {
	for _, step := range []struct {
		subject, body string
		remaining     int64
	}{
		{"ratelimit.peek.k", ``, 2},
		{"ratelimit.peek", `{"key":"k"}`, 2},
		{"ratelimit.peek.k", `{"cost":0}`, 2},
		{"ratelimit.refund.k", ``, 3},
		{"ratelimit.refund", `{"key":"k","cost":2}`, 4},
		{"ratelimit.refund.k", `{"cost":3}`, 5},
		{"ratelimit.refund.k", `{"cost":9007199254740992}`, 5},
		{"ratelimit.refund.k", `{"cost":0}`, 2},
		{"ratelimit.reset.k", ``, 5},
		{"ratelimit.reset", `{"key":"k"}`, 5},
	} {
		t.Run(step.subject+step.body, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
				r.one("ratelimit.check.k", `{"cost":3}`)
				got := r.one(step.subject, step.body)
				want := wire.Reply{Allowed: true, Key: "k", Limit: 5, Remaining: step.remaining, ResetAfterMS: 1000 * (5 - step.remaining),
					WindowMS: 5000, LimitName: "default", Source: "memory", Degraded: true}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
				if after := r.one("ratelimit.peek.k", ""); after.Remaining != step.remaining {
					t.Errorf("afterwards %d tokens are left, want %d", after.Remaining, step.remaining)
				}
			})
		})
	}
}

// A peek at an empty bucket is an answer, not a denial.
func TestPeekIsNotDenied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond})
		r.one("ratelimit.check.k", `{"cost":5}`)
		if got := r.one("ratelimit.peek.k", ""); !got.Allowed || got.Remaining != 0 || got.RetryAfterMS != 0 {
			t.Errorf("got %+v, want allowed with 0 remaining", got)
		}
	})
}

func TestResetIsOfOneLimit(t *testing.T) {
	const inline, other = `{"rate":1,"interval":"1m"}`, `{"rate":2,"interval":"1m"}`
	for name, test := range map[string]struct {
		body                                  string
		limit                                 int64 // of the reply
		limitName                             string
		inlineLeft, otherLeft, defaultsRemain int64
	}{
		"the default one": {``, 5, "default", 0, 1, 5},
		"the inline one":  {inline, 1, "inline", 1, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
				for _, body := range []string{inline, other, ``} {
					r.one("ratelimit.check.k", body)
				}
				got := r.one("ratelimit.reset.k", test.body)
				if !got.Allowed || got.Limit != test.limit || got.Remaining != test.limit || got.LimitName != test.limitName {
					t.Errorf("reset answered %+v, want limit and remaining %d of %q", got, test.limit, test.limitName)
				}
				for body, want := range map[string]int64{inline: test.inlineLeft, other: test.otherLeft, ``: test.defaultsRemain} {
					if got := r.one("ratelimit.peek.k", body); got.Remaining != want {
						t.Errorf("under %q the bucket holds %d, want %d", body, got.Remaining, want)
					}
				}
			})
		})
	}
}

// Limits that come with requests and the default limit have buckets of their
// own, so whoever brings a small one does not make a large one forget.
func TestBucketsAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
		r.one("ratelimit.check.k", `{"cost":5}`)
		large := `{"rate":1000,"interval":"24h","cost":100}`
		for i := range 12 {
			if got, want := r.one("ratelimit.check.k", large), i < 10; got.Allowed != want {
				t.Fatalf("check %d of 100 of 1000 a day: %+v, want allowed %t", i, got, want)
			}
			r.one("ratelimit.check.k", `{"rate":1,"interval":"1ms"}`)
			r.one("ratelimit.check.k", `{"rate":1000,"interval":"24h","burst":1}`)
			r.one("ratelimit.check.k", `{"rate":1000,"interval":"24h","algorithm":"fixed_window"}`)
		}
		if got := r.one("ratelimit.peek.k", `{"rate":1000,"interval":"24h","burst":1000}`); got.Remaining != 0 {
			t.Errorf("the same limit in other words has %d left, want 0", got.Remaining)
		}
	})
}

func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, Options{InlineLimits: InlineUnmatched})
		for body, want := range map[string]int64{
			`{"rate":5,"interval":"1s"}`:                          1000,
			`{"rate":3,"interval":"1s","burst":1}`:                334,
			`{"rate":1000,"interval":"1ms","burst":1}`:            1,
			`{"rate":1,"interval":"8784h","burst":2}`:             2 * 8784 * 3600 * 1000,
			`{"rate":9007199254740992,"interval":"1s","burst":1}`: 1,
			`{"rate":1,"interval":"1us","burst":1}`:               -1,
		} {
			got := r.one("ratelimit.peek.k", body)
			switch {
			case want == -1 && (got.Err == nil || got.Err.Code != wire.CodeInvalidRequest),
				want == -2 && (got.Err == nil || got.Err.Code != wire.CodeLimitNotRepresentable),
				want >= 0 && (got.Err != nil || got.WindowMS != want):
				t.Errorf("%s: got %+v, want window %d", body, got, want)
			}
		}
	})
}
