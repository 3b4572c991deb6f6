package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDecodeRequestGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(file)) {
		if line[0] == '>' || line[0] == '!' {
			continue
		}
		got.WriteString(line)
		if line[0] != '<' {
			continue
		}
		body := strings.TrimPrefix(line[1:len(line)-1], " ")
		r, err := DecodeRequest([]byte(body))
		if err != nil {
			got.WriteString("! " + err.Error() + "\n")
			checkRefusal(t, err)
			continue
		}
		out := AppendRequest(nil, &r)
		got.WriteString(strings.TrimSpace("> "+string(out)) + "\n")
		if again, err := DecodeRequest(out); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s\ndecodes to %+v\nand again to %+v, %v", body, r, again, err)
		}
	}
	golden(t, "requests.txt", got.String())
}

// checkRefusal fails the test unless err is what DecodeRequest may return.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeInvalidRequest && e.Code != CodeInvalidKey {
		t.Fatalf("the error is %#v", err)
	}
	checkMessage(t, e.Message)
}

// TestDecodeRequestRefuses has what does not fit into a line of text.
func TestDecodeRequestRefuses(t *testing.T) {
	many := strings.Repeat(`{"key":"a"},`, MaxChecks)
	for _, tt := range []struct{ name, body, want string }{
		{"white space", " \n", `the body must be empty or a JSON object, not " \n"`},
		{"byte order mark", "\xef\xbb\xbf{}", "the body must be empty or a JSON object, not a byte order mark"},
		{"control byte", "{\"policy\":\"a\x00b\"}", "policy: the string has the control byte 0x00, at byte 13"},
		{"not UTF-8", "{\"policy\":\"a\xff\"}", "policy: the string is not UTF-8, at byte 13"},
		{"not UTF-8 after an escape", "{\"policy\":\"\\u0061\xc3\"}", "policy: the string is not UTF-8, at byte 18"},
		{"surrogate in UTF-8", "{\"policy\":\"\xed\xa0\x80\"}", "policy: the string is not UTF-8, at byte 12"},
		{"not UTF-8 in a name", "{\"\xff\":1}", "the string is not UTF-8, at byte 3"},
		{"control byte outside", "{\x00}", `not JSON at byte 2: a field name in quotes should stand there, not "\x00"`},
		{"other characters", "{\"policy\":\"gr\u00fcn\"}", `policy: "gr\u00fcn" is no name of a policy, which is 1 to 64 of A-Z a-z 0-9 _ : @ / + = ~ . and -; leave it out to use the one that matches the key`},
		{"too large", `{"policy":"` + strings.Repeat("a", MaxRequest), "the body has 65547 bytes and must have at most 65536"},
		{"long unknown name", `{"` + strings.Repeat("x", 60000) + `":1}`, `unknown field "` + strings.Repeat("x", 64) + `"...; there are key, rate, interval, burst, cost, algorithm, policy, timeout_ms, checks, mode`},
		{"deep arrays", `{"cost":` + strings.Repeat("[", 60000) + `}`, "cost: must be an integer, not an array"},
		{"deep objects", strings.Repeat(`{"checks":[`, 5000), "checks[0].checks: a check cannot hold checks of its own"},
		{"many checks", `{"checks":[` + many + `{"key":"a"}]}`, "checks: more than 256; send the rest in another request"},
		{"last of many checks", `{"checks":[` + many[:len(many)-len(`{"key":"a"},`)] + `{"key":"a","cost":-1}]}`, "checks[255].cost: -1 must not be negative"},
		{"long key", `{"key":"` + strings.Repeat("a", 257) + `"}`, `key: "` + strings.Repeat("a", 64) + `"... is 257 bytes long and must be at most 256; use a hash of the long part`},
	} {
		_, err := DecodeRequest([]byte(tt.body))
		if err == nil {
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		checkRefusal(t, err)
		if got := err.(*Error).Message; got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestDecodeRequestFields(t *testing.T) {
	got, err := DecodeRequest([]byte(`{"key":"user_123","rate":5,"interval":"1m","burst":10,"cost":2,"algorithm":"token_bucket","policy":"gold","timeout_ms":250}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Request{
		Key: "user_123", Rate: 5, IntervalMicros: 60e6, Burst: 10, Cost: 2, CostGiven: true,
		Algorithm: AlgorithmTokenBucket, Policy: "gold", TimeoutMS: 250,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	got, err = DecodeRequest([]byte(`{"mode":"each","checks":[{"key":"a"},{"key":"b","cost":0}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want = Request{Cost: 1, Mode: ModeEach, Checks: []Request{{Key: "a", Cost: 1}, {Key: "b", CostGiven: true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeRequestMost(t *testing.T) {
	r := Request{Cost: 1}
	for i := range MaxChecks {
		r.Checks = append(r.Checks, Request{Key: KeyOf("user", strconv.Itoa(i)), Cost: int64(i), CostGiven: true})
	}
	got, err := DecodeRequest(AppendRequest(nil, &r))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("%d checks came back different", MaxChecks)
	}
}

// TestDecodeRequestAllocs holds the hot path down to the strings it returns.
func TestDecodeRequestAllocs(t *testing.T) {
	for body, most := range map[string]float64{
		``:                                    0,
		`{"rate":5,"interval":"1s","cost":2}`: 1,
		`{"key":"user_123","rate":5,"interval":"1s"}`: 2,
	} {
		b := []byte(body)
		if got := testing.AllocsPerRun(100, func() { _, _ = DecodeRequest(b) }); got > most {
			t.Errorf("%s: %v allocations, want at most %v", body, got, most)
		}
	}
}

// plainRequest is what encoding/json reads a request into.
type plainRequest struct {
	Key       *string         `json:"key,omitempty"`
	Rate      *int64          `json:"rate,omitempty"`
	Interval  *string         `json:"interval,omitempty"`
	Burst     *int64          `json:"burst,omitempty"`
	Cost      *int64          `json:"cost,omitempty"`
	Algorithm *string         `json:"algorithm,omitempty"`
	Policy    *string         `json:"policy,omitempty"`
	TimeoutMS *int64          `json:"timeout_ms,omitempty"`
	Checks    *[]plainRequest `json:"checks,omitempty"`
	Mode      *string         `json:"mode,omitempty"`
}

func (p *plainRequest) request(t *testing.T) Request {
	r := Request{Cost: 1}
	set(&r.Key, p.Key)
	set(&r.Rate, p.Rate)
	set(&r.Burst, p.Burst)
	set(&r.Cost, p.Cost)
	r.CostGiven = p.Cost != nil
	set(&r.Algorithm, p.Algorithm)
	set(&r.Policy, p.Policy)
	set(&r.TimeoutMS, p.TimeoutMS)
	set(&r.Mode, p.Mode)
	if p.Interval != nil {
		d, err := time.ParseDuration(*p.Interval)
		if err != nil {
			t.Fatal(err)
		}
		r.IntervalMicros = d.Microseconds()
	}
	if p.Checks != nil {
		for i := range *p.Checks {
			r.Checks = append(r.Checks, (*p.Checks)[i].request(t))
		}
	}
	return r
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// TestDecodeRequestReadsWhatOthersWrite lets encoding/json write random
// requests that are right, and expects them all to be accepted as they were.
func TestDecodeRequestReadsWhatOthersWrite(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	count := func() *int64 { n := 1 + rnd.Int64N(maxCount); return &n }
	text := func(s string) *string { return &s }
	one := func() plainRequest {
		var p plainRequest
		if rnd.IntN(2) == 0 {
			p.Rate = count()
			p.Interval = text((time.Millisecond + time.Duration(rnd.Int64N(int64(maxInterval-minInterval)))).Truncate(time.Microsecond).String())
			if rnd.IntN(2) == 0 {
				p.Burst = count()
			}
			if rnd.IntN(2) == 0 {
				p.Algorithm = text([]string{AlgorithmTokenBucket, AlgorithmLeakyBucket, AlgorithmSlidingWindow, AlgorithmFixedWindow}[rnd.IntN(4)])
			}
		}
		if rnd.IntN(2) == 0 {
			p.Cost = count()
			*p.Cost--
		}
		if rnd.IntN(2) == 0 {
			p.Policy = text("gold")
		}
		if rnd.IntN(4) == 0 {
			ms := 1 + rnd.Int64N(MaxTimeoutMS)
			p.TimeoutMS = &ms
		}
		return p
	}
	key := func() *string {
		raw := make([]byte, 1+rnd.IntN(40))
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		return text(KeyOf(string(raw)))
	}
	for range 2000 {
		p := one()
		if rnd.IntN(2) == 0 {
			p.Key = key()
		}
		if rnd.IntN(4) == 0 {
			p = plainRequest{Checks: &[]plainRequest{}}
			for range 1 + rnd.IntN(5) {
				c := one()
				c.Key = key()
				*p.Checks = append(*p.Checks, c)
			}
			if rnd.IntN(2) == 0 {
				p.Mode = text(ModeEach)
			}
		}
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRequest(body)
		if want := p.request(t); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ngot  %+v, %v\nwant %+v", body, got, err, want)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	file, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if line[0] == '<' {
			f.Add([]byte(strings.TrimSpace(line[1:])))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeRequest(body)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if len(body) > 0 {
			dec := json.NewDecoder(bytes.NewReader(body))
			dec.DisallowUnknownFields()
			var p plainRequest
			if err := dec.Decode(&p); err != nil {
				t.Fatalf("%q is accepted, but not by encoding/json: %v", body, err)
			}
			if want := p.request(t); !reflect.DeepEqual(r, want) {
				t.Fatalf("%q\ngot  %+v\nwant %+v", body, r, want)
			}
		}
		out := AppendRequest(nil, &r)
		if again, err := DecodeRequest(out); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q\nis %+v\nand written as %q\nis %+v, %v", body, r, out, again, err)
		}
	})
}
