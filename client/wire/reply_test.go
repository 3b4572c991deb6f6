package wire

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// goldenReplies are written to testdata/replies.txt, one per line.
var goldenReplies = []Reply{
	{Allowed: true, Key: "user_123", Limit: 5, Remaining: 4, ResetAfterMS: 200, WindowMS: 1000, LimitName: "default", Source: "redis"},
	{Key: "user_123", Limit: 5, RetryAfterMS: 1000, ResetAfterMS: 5000, WindowMS: 5000, Policy: "gold", LimitName: "per_minute", Source: "redis"},
	{Allowed: true, Key: "tenant.acme.user.a%2Eb", Limit: 1 << 53, Remaining: 1 << 53, WindowMS: 1 << 53, LimitName: "default", Source: "memory", Degraded: true},
	{Allowed: true, Key: "user_123", Limit: 50, Remaining: 20, ResetAfterMS: 60000, WindowMS: 86400000, DelayMS: 250, Policy: "free", LimitName: "day", Limits: []LimitReply{
		{Name: "second", Limit: 10, RetryAfterMS: 100, ResetAfterMS: 1000, WindowMS: 1000},
		{Name: "day", Limit: 50, Remaining: 20, ResetAfterMS: 60000, WindowMS: 86400000},
	}, Source: "redis", WouldDeny: true},
	{},
	{Key: "user_123", Err: Errorf(CodeCostExceedsBurst, "cost 6 is more than the burst of 5")},
	{Err: Errorf(CodeInvalidKey, "key \"user 42\" \\ \n\x01\u00e9 has \x7f")},
}

func TestReplyGolden(t *testing.T) {
	var got strings.Builder
	for _, r := range goldenReplies {
		body := AppendReply(nil, &r)
		got.Write(append(body, '\n'))
		if !json.Valid(body) {
			t.Errorf("not JSON: %s", body)
		}
		back, err := DecodeReply(body)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", body, back, err, r)
		}
	}
	golden(t, "replies.txt", got.String())
}

func TestRepliesGolden(t *testing.T) {
	var got strings.Builder
	for _, r := range []Replies{
		{Allowed: true, Results: []Reply{goldenReplies[0], goldenReplies[2]}},
		{Results: goldenReplies},
		{RetryAfterMS: 1500, Results: []Reply{goldenReplies[0], goldenReplies[1]}},
		{Allowed: true, InTurn: true, Results: []Reply{goldenReplies[0]}},
		{Results: []Reply{}},
		{Err: Errorf(CodeOverloaded, "the worker has 4096 checks waiting; try again later")},
	} {
		body := AppendReplies(nil, &r)
		got.Write(append(body, '\n'))
		if !json.Valid(body) {
			t.Errorf("not JSON: %s", body)
		}
		back, err := DecodeReplies(body)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", body, back, err, r)
		}
	}
	golden(t, "several.txt", got.String())
}

func TestAppendError(t *testing.T) {
	e := Errorf(CodeOverloaded, `say "when"`)
	body := AppendError([]byte("x"), e)
	if got, want := string(body), `x{"error":{"code":"overloaded","message":"say \"when\""}}`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	one, err := DecodeReply(body[1:])
	if err != nil || !reflect.DeepEqual(one.Err, e) {
		t.Errorf("DecodeReply = %+v, %v", one, err)
	}
	several, err := DecodeReplies(body[1:])
	if err != nil || !reflect.DeepEqual(several.Err, e) {
		t.Errorf("DecodeReplies = %+v, %v", several, err)
	}
}

func TestAppendReplyOfWhatIsNotUTF8(t *testing.T) {
	body := AppendReply(nil, &Reply{Key: "a\xffb"})
	if !utf8.Valid(body) || !json.Valid(body) {
		t.Errorf("got %q", body)
	}
}

func TestDecodeReplyOfNewerWorkers(t *testing.T) {
	got, err := DecodeReply([]byte(` {"tier":{"a":[1,2.5e3,{"b":null}],"c":"\ud83d\ude00"},"allowed":true,"key":"a","lease":null,"ALLOWED":false,"x":-0.1,"y":false,"source":"moon"} `))
	want := Reply{Allowed: true, Key: "a", Source: "moon"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	got, err = DecodeReply([]byte(`{"error":{"code":"new_code","message":"m","help":["x"]},"allowed":true,"remaining":5}`))
	want = Reply{Err: Errorf("new_code", "m")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestDecodeReplyRefuses(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"", "not a reply: the JSON ends too early, an object should follow"},
		{"hello", `not a reply: not JSON at byte 1: an object should stand there, not "h"`},
		{"null", "not a reply: must be an object, not null"},
		{"[]", "not a reply: must be an object, not an array"},
		{"{}", `not a reply: it has neither "allowed" nor "error"`},
		{`{"limit":5}`, `not a reply: it has neither "allowed" nor "error"`},
		{`{"allowed":1}`, "not a reply: must be a boolean, not a number"},
		{`{"allowed":null}`, "not a reply: must be a boolean, not null"},
		{`{"allowed":"true"}`, "not a reply: must be a boolean, not a string"},
		{`{"allowed":true,"remaining":-1}`, "not a reply: -1 must not be negative"},
		{`{"allowed":true,"remaining":1e3}`, "not a reply: 1e3 must be an integer, written in digits only"},
		{`{"allowed":true}{}`, "not a reply: something follows the JSON object, at byte 17"},
		{`{"allowed":true,"x":` + strings.Repeat("[", 100000), "not a reply: is nested more than 16 deep"},
		{`{"allowed":true,"x":` + strings.Repeat(`{"x":`, 100000), "not a reply: is nested more than 16 deep"},
		{`{"allowed":true,"x":?}`, `not a reply: not JSON at byte 21: a value should stand there, not "?"`},
		{`{"error":{}}`, "not a reply: the error has no code"},
		{`{"error":null}`, "not a reply: must be an object, not null"},
		{`{"error":"overloaded"}`, "not a reply: must be an object, not a string"},
	} {
		r, err := DecodeReply([]byte(tt.body))
		if err == nil {
			t.Errorf("%.40s: accepted as %+v", tt.body, r)
		} else if err.Error() != tt.want {
			t.Errorf("%.40s:\ngot  %v\nwant %s", tt.body, err, tt.want)
		}
	}
	for _, body := range []string{`{"allowed":true}`, `{"results":[]}`, `{"allowed":true,"results":[{}]}`, `{"allowed":true,"results":{}}`, `{"allowed":true,"results":[{"allowed":true}`} {
		if r, err := DecodeReplies([]byte(body)); err == nil {
			t.Errorf("%s: accepted as %+v", body, r)
		}
	}
}

func TestDecodeReplyAllocs(t *testing.T) {
	body := AppendReply(nil, &goldenReplies[0])
	if got := testing.AllocsPerRun(100, func() { _, _ = DecodeReply(body) }); got > 1 {
		t.Errorf("%v allocations, want 1 for the key", got)
	}
}

// TestDecodeRepliesInto reads different replies into the same space.
func TestDecodeRepliesInto(t *testing.T) {
	var space Replies
	for i, want := range []Replies{
		{Results: goldenReplies},
		{Allowed: true, Results: []Reply{goldenReplies[2]}},
		{Results: []Reply{goldenReplies[1], goldenReplies[3], goldenReplies[3], goldenReplies[0]}},
		{Results: []Reply{goldenReplies[3], goldenReplies[5], goldenReplies[0]}},
		{Results: []Reply{}},
		{Results: []Reply{{}, {}, {}, {}}},
		{Err: Errorf(CodeOverloaded, "try again later")},
		{Allowed: true, RetryAfterMS: 5, Results: goldenReplies[:3]},
	} {
		if err := DecodeRepliesInto(&space, AppendReplies(nil, &want)); err != nil || !reflect.DeepEqual(space, want) {
			t.Errorf("%d: got  %+v, %v\nwant %+v", i, space, err, want)
		}
		_ = DecodeRepliesInto(&space, []byte(`{"allowed":true,"retry_after_ms":7,"results":[{"allowed":true,"key":"x","limits":[{"name":"y"`))
	}
}

func TestDecodeRepliesIntoAllocs(t *testing.T) {
	body := AppendReplies(nil, &Replies{Results: []Reply{goldenReplies[0], goldenReplies[1], goldenReplies[3]}})
	space := Replies{Results: make([]Reply, 0, 4)}
	if got := testing.AllocsPerRun(100, func() { _ = DecodeRepliesInto(&space, body) }); got > 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func FuzzDecodeReply(f *testing.F) {
	for i := range goldenReplies {
		f.Add(AppendReply(nil, &goldenReplies[i]))
	}
	f.Add(AppendReplies(nil, &Replies{Results: goldenReplies}))
	f.Add([]byte(`{"x":[{"y":-1.5e-3}],"allowed":true}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		several, err := DecodeReplies(body)
		used := Replies{Allowed: true, RetryAfterMS: 1, Results: slices.Clone(goldenReplies), Err: Errorf(CodeOverloaded, "m")}
		if e := DecodeRepliesInto(&used, body); (e == nil) != (err == nil) || e == nil && !reflect.DeepEqual(used, several) {
			t.Fatalf("%q\nis %+v, %v\nand into used space %+v, %v", body, several, err, used, e)
		}
		if err == nil {
			again, err := DecodeReplies(AppendReplies(nil, &several))
			if err != nil || !reflect.DeepEqual(again, several) {
				t.Fatalf("%q\nis %+v\nand again %+v, %v", body, several, again, err)
			}
		}
		r, err := DecodeReply(body)
		if err != nil {
			checkMessage(t, err.Error())
			return
		}
		again, err := DecodeReply(AppendReply(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q\nis %+v\nand again %+v, %v", body, r, again, err)
		}
		// A map, because in a struct encoding/json would find ALLOWED too.
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatalf("%q is accepted, but not by encoding/json: %v", body, err)
		}
		if r.Err != nil {
			return
		}
		agree(t, fields, "allowed", r.Allowed)
		agree(t, fields, "key", r.Key)
		agree(t, fields, "limit", r.Limit)
		agree(t, fields, "remaining", r.Remaining)
		agree(t, fields, "retry_after_ms", r.RetryAfterMS)
		agree(t, fields, "reset_after_ms", r.ResetAfterMS)
		agree(t, fields, "window_ms", r.WindowMS)
		agree(t, fields, "policy", r.Policy)
		agree(t, fields, "limit_name", r.LimitName)
		agree(t, fields, "source", r.Source)
		agree(t, fields, "degraded", r.Degraded)
		agree(t, fields, "delay_ms", r.DelayMS)
		agree(t, fields, "would_deny", r.WouldDeny)
		agreeLimits(t, fields["limits"], r.Limits)
	})
}

func agreeLimits(t *testing.T, raw json.RawMessage, got []LimitReply) {
	var want []map[string]json.RawMessage
	if raw != nil {
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("limits: %v", err)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("there are %d limits, but %d by encoding/json", len(got), len(want))
	}
	for i, l := range got {
		agree(t, want[i], "name", l.Name)
		agree(t, want[i], "limit", l.Limit)
		agree(t, want[i], "remaining", l.Remaining)
		agree(t, want[i], "retry_after_ms", l.RetryAfterMS)
		agree(t, want[i], "reset_after_ms", l.ResetAfterMS)
		agree(t, want[i], "window_ms", l.WindowMS)
	}
}

func agree[T comparable](t *testing.T, fields map[string]json.RawMessage, name string, got T) {
	var want T
	if raw, ok := fields[name]; ok {
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if got != want {
		t.Fatalf("%s is %v, but %v by encoding/json", name, got, want)
	}
}
