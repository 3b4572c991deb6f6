package httpbridge_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/client/wire"
)

// FuzzPath sends any path. Whatever comes of it, the only key that may be
// asked about is the one that stands there, byte for byte.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"/v1/check/a", "/v1/check/a%2Eb.c", "/v1/check/a/b", "/v1/check//a", "/v1/check/a/../b", "/v1/check/%2E%2E", "/v1/check/%252F",
		"/v1/check/a%00", "/v1/check/{", "/v1/check/a%2Eb{", "/v1/check/a?cost=1", "/v1/check/a#b", "//v1/check/a", "/v1/check/%zz", "http://x/v1/check/a",
		"*", "/", "/check", "/health", "/v1/peek/a", "/v1/check/\xff", "/v1/check/a\\b", "x:80",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return // refused by net/http
		}
		s := newService()
		w := httptest.NewRecorder()
		httpbridge.New(direct{s}, httpbridge.Options{}).ServeHTTP(w, r)
		checkResponse(t, w)

		sent, _, _ := strings.Cut(r.RequestURI, "?")
		for _, key := range s.asked() {
			if wire.CheckKey(key) != nil {
				t.Errorf("asked about %q, which is no key", key)
			}
			if !strings.HasSuffix(sent, "/v1/check/"+key) && !strings.HasSuffix(sent, "/v1/peek/"+key) {
				t.Errorf("%q asked about %q", sent, key)
			}
		}
	})
}

// FuzzQuery sends any query. It must be read like the body that says the same,
// or not at all.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{"", "rate=5&interval=1s&burst=10&cost=2", "cost=-1", "cost=1&cost=1", "cost=01", "interval=%22", "rate=5&interval=1s%FF", "a=b", "cost=1;rate=2", "cost", "=", "&&"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /v1/check/a?" + query + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s := newService()
		httpbridge.New(direct{s}, httpbridge.Options{}).ServeHTTP(w, r)
		checkResponse(t, w)
		got := s.requests()
		if len(got) == 0 {
			return // refused
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("asked with a query that cannot be read: %s", err)
		}
		want := wire.Request{Key: "a", Cost: 1}
		for name := range values {
			text := values.Get(name)
			n, err := strconv.ParseInt(text, 10, 64)
			switch name {
			case "rate":
				want.Rate = n
			case "burst":
				want.Burst = n
			case "cost":
				want.Cost, want.CostGiven = n, true
			case "interval":
				var d time.Duration
				d, err = time.ParseDuration(text)
				want.IntervalMicros = d.Microseconds()
			}
			if err != nil || len(values[name]) != 1 {
				t.Errorf("asked with %s=%q", name, values[name])
			}
		}
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("asked %+v, want %+v", got, want)
		}
	})
}

// FuzzRaw sends any bytes as a request.
func FuzzRaw(f *testing.F) {
	f.Add(post("/check", `{"key":"a","rate":5,"interval":"1s"}`))
	f.Add(post("/check", `{"checks":[{"key":"a"},{"key":"b","cost":1000}]}`))
	f.Add(post("/v1/refund/a", `{"cost":3}`, "Content-Type: application/json"))
	f.Add(get("/v1/check/a?cost=2", "X-Request-Id: 1"))
	f.Add("POST /check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		httpbridge.New(direct{newService()}, httpbridge.Options{Admin: true}).ServeHTTP(w, r)
		checkResponse(t, w)
	})
}

// checkResponse holds for every response: a known status, a body that is what
// it says, and headers that are headers.
func checkResponse(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if !slices.Contains([]int{200, 400, 403, 404, 405, 411, 413, 415, 422, 429}, w.Code) {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if strings.HasSuffix(w.Header().Get("Content-Type"), "json") && !json.Valid(w.Body.Bytes()) {
		t.Errorf("no JSON: %q", w.Body)
	}
	for name, values := range w.Header() {
		for _, v := range values {
			if strings.ContainsFunc(name+v, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("header %q: %q", name, v)
			}
		}
	}
}
