package httpbridge_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client/httpbridge"
)

// last is a request that follows the one of a test. Whether it is answered
// shows whether the connection is still trusted, without waiting.
const last = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"

// exchange sends raw bytes on a new connection, and last behind them. It
// returns the responses but for that to last; open is whether there was one.
func exchange(t *testing.T, addr, raw string) (responses []*http.Response, open bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw+last); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			t.Fatalf("no answer and no end after %d responses", len(responses))
		case err != nil:
			return responses, open // the other side closed the connection
		case resp.Header.Get("X-Request-Id") == "last":
			open = true
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err) // a reset is how a server hangs up on bytes that it has not read
		}
		resp.Body = io.NopCloser(strings.NewReader(string(body)))
		responses = append(responses, resp)
	}
}

func post(path, body string, header ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", path, len(body), lines(header), body)
}

func get(path string, header ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + lines(header) + "\r\n"
}

func lines(header []string) string {
	var b strings.Builder
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

// TestBadInput sends what nobody should send, over a real connection. The rows
// of the bad-input table that are about HTTP are all here; each is answered
// exactly once, with exactly this status, and asks about exactly these keys.
func TestBadInput(t *testing.T) {
	const good = `{"key":"user_123"}`
	chunked := "POST /check HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n12\r\n" + good + "\r\n0\r\n\r\n"
	// What stands after a body is a request of its own to a server that ends
	// the body elsewhere.
	smuggled := "GET /v1/check/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name   string
		raw    string
		status int
		keys   []string // that the service was asked about
	}{
		{"48 escaped slash", get("/v1/check/a%2Fb"), 400, nil},
		{"48 slash", get("/v1/check/a/b"), 200, []string{"a/b"}},
		{"49 ..%2f..%2fetc", get("/v1/check/..%2f..%2fetc"), 400, nil},
		{"49 %2e%2e", get("/v1/check/%2e%2e"), 400, nil},
		{"49 %2E%2E", get("/v1/check/%2E%2E"), 400, nil},
		{"49 a/%2E%2E/b", get("/v1/check/a/%2E%2E/b"), 400, nil},
		{"49 .%2E", get("/v1/check/.%2E/b"), 400, nil},
		{"50 //", get("/v1/check//a"), 400, nil},
		{"50 a//b", get("/v1/check/a//b"), 400, nil},
		{"50 /a/../b", get("/v1/check/a/../b"), 400, nil},
		{"50 /.", get("/v1/check/."), 400, nil},
		{"50 /..", get("/v1/check/a/.."), 400, nil},
		{"50 //check", post("//check", good), 400, nil},
		{"50 /./check", post("/./check", good), 400, nil},
		{"50 /v1/x/../check/a", get("/v1/x/../check/a"), 400, nil},
		{"51 NUL", get("/v1/check/a%00"), 200, []string{"a%00"}}, // never decoded, so harmless
		{"51 CRLF", get("/v1/check/a%0d%0aX-Evil:%201"), 400, nil},
		{"51 %FF", get("/v1/check/%FF"), 200, []string{"%FF"}}, // the one spelling of that byte
		{"51 %ff", get("/v1/check/%ff"), 400, nil},
		{"52 %zz", get("/v1/check/%zz"), 400, nil},
		{"52 raw space", get("/v1/check/a b"), 400, nil},
		{"53 %252F", get("/v1/check/%252F"), 200, []string{"%252F"}},
		{"53 %2E", get("/v1/check/a%2Eb.c"), 200, []string{"a%2Eb.c"}},
		{"53 %2E next to a raw brace", get("/v1/check/a%2Eb{"), 400, nil},
		{"53 raw brace", get("/v1/check/{"), 400, nil},
		{"53 escaped brace", get("/v1/check/%7B"), 200, []string{"%7B"}},
		{"53 fragment", get("/v1/check/a#b"), 400, nil},
		{"53 raw UTF-8", get("/v1/check/\xc3\xa9"), 400, nil},
		{"53 absolute form", get("http://y/v1/check/a"), 200, []string{"a"}},
		{"54 key of 256 bytes", get("/v1/check/" + strings.Repeat("k", 256)), 200, []string{strings.Repeat("k", 256)}},
		{"54 key of 257 bytes", get("/v1/check/" + strings.Repeat("k", 257)), 400, nil},
		{"54 key of 9000 bytes", get("/v1/check/" + strings.Repeat("k", 9000)), 400, nil},
		{"54 key of 20000 bytes", get("/v1/check/" + strings.Repeat("k", 20000)), 431, nil},
		{"54 empty key", get("/v1/check/"), 400, nil},
		{"55 GET /check", get("/check"), 405, nil},
		{"55 DELETE", "DELETE /v1/check/a HTTP/1.1\r\nHost: x\r\n\r\n", 405, nil},
		{"55 HEAD", "HEAD /v1/check/a HTTP/1.1\r\nHost: x\r\n\r\n", 405, nil},
		{"55 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, nil},
		{"55 CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 404, nil},
		{"55 lower case method", strings.Replace(get("/v1/check/a"), "GET", "get", 1), 405, nil},
		{"55 ?cost=-1", get("/v1/check/a?cost=-1"), 400, nil},
		{"55 ?cost=1 on POST", post("/check?cost=1", good), 400, nil},
		{"56 application/json", post("/check", good, "Content-Type: application/json; charset=UTF-8"), 200, []string{"user_123"}},
		{"56 form", post("/check", good, "Content-Type: application/x-www-form-urlencoded"), 200, []string{"user_123"}},
		{"56 absent", post("/check", good), 200, []string{"user_123"}},
		{"56 a real form", post("/check", "key=user_123&rate=5", "Content-Type: application/x-www-form-urlencoded"), 400, nil},
		{"56 text/plain", post("/check", good, "Content-Type: text/plain"), 415, nil},
		{"56 multipart", post("/check", good, "Content-Type: multipart/form-data; boundary=x"), 415, nil},
		{"56 charset=utf-16", post("/check", good, "Content-Type: application/json; charset=utf-16"), 415, nil},
		{"56 two types", post("/check", good, "Content-Type: application/json", "Content-Type: text/plain"), 415, nil},
		{"56 no type", post("/check", good, "Content-Type: ;"), 415, nil},
		{"56 empty type", post("/check", good, "Content-Type:"), 415, nil},
		{"56 gzip", post("/check", good, "Content-Type: application/json", "Content-Encoding: gzip"), 415, nil},
		{"57 64 KiB", post("/check", good+strings.Repeat(" ", 64<<10-len(good))), 200, []string{"user_123"}},
		{"57 64 KiB + 1", post("/check", good+strings.Repeat(" ", 64<<10-len(good)+1)), 413, nil},
		{"57 a terabyte", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n", 413, nil},
		{"57 a terabyte, Expect", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\nExpect: 100-continue\r\n\r\n", 413, nil},
		{"58 +2", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}", 400, nil},
		{"58 -1", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}", 400, nil},
		{"58 two that differ", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\nContent-Length: 2\r\n\r\n" + good, 400, nil},
		{"58 a list", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 18, 18\r\n\r\n" + good, 400, nil},
		{"59 chunked", fmt.Sprintf(chunked, "Transfer-Encoding: chunked"), 411, nil},
		{"59 CL and TE", fmt.Sprintf(chunked, "Content-Length: 18\r\nTransfer-Encoding: chunked") + smuggled, 411, nil},
		{"59 TE and CL, long body", fmt.Sprintf(chunked, "Transfer-Encoding: chunked\r\nContent-Length: 200") + smuggled, 411, nil},
		{"59 TE on a key", strings.Replace(fmt.Sprintf(chunked, "Transfer-Encoding: chunked"), "POST /check", "GET /v1/check/a", 1) + smuggled, 411, nil},
		{"59 TE on no endpoint", strings.Replace(fmt.Sprintf(chunked, "Transfer-Encoding: chunked"), "/check", "/nowhere", 1) + smuggled, 411, nil},
		{"59 TE on health", strings.Replace(fmt.Sprintf(chunked, "Transfer-Encoding: chunked"), "POST /check", "GET /health", 1) + smuggled, 411, nil},
		{"60 obs-fold", fmt.Sprintf(chunked, "Transfer-Encoding:\r\n chunked"), 411, nil},
		{"60 xchunked", fmt.Sprintf(chunked, "Transfer-Encoding: xchunked"), 501, nil},
		{"60 chunked, identity", fmt.Sprintf(chunked, "Transfer-Encoding: chunked, identity"), 501, nil},
		{"61 bare LF in a chunk", "POST /check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n12\n" + good + "\r\n0\r\n\r\n", 411, nil},
		{"62 space before the colon", "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n{}", 400, nil},
		{"62 NUL in a header", get("/v1/check/a", "X-A: b\x00c"), 400, nil},
		{"62 two Host", get("/v1/check/a", "Host: y"), 400, nil},
		{"62 no Host", "GET /v1/check/a HTTP/1.1\r\n\r\n", 400, nil},
		{"62 HTTP/0.9", "GET /v1/check/a\r\n\r\n", 400, nil},
		{"66 HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 411, nil},
		{"67 Authorization of any kind says nothing", get("/v1/check/a", "Authorization: Bearer x", "Authorization: Basic eA==", "X-Long: "+strings.Repeat("x", 4000)), 200, []string{"a"}},
		{"68 X-Forwarded-For says nothing", post("/check", good, "X-Forwarded-For: 10.0.0.1", "X-Real-Ip: 10.0.0.1", "Forwarded: for=10.0.0.1"), 200, []string{"user_123"}},
		{"69 half a surrogate", post("/check", `{"key":"a\ud800"}`), 400, nil},
		{"69 raw \\xff", post("/check", "{\"key\":\"a\xff\"}"), 400, nil},
		{"no key", post("/check", `{"rate":5,"interval":"1s"}`), 400, nil},
		{"no body", post("/check", ""), 400, nil},
		{"two keys", post("/v1/check/a", good), 400, nil},
		{"checks and a key", post("/v1/check/a", `{"checks":[{"key":"b"}]}`), 400, nil},
		{"checks to peek", get("/v1/peek/a?checks=1"), 400, nil},
		{"two documents", post("/check", good+good), 400, nil},
		// Turns red when package wire learns another mode: the bridge must
		// not take it for one of these, and charge what should not be charged.
		{"mode some", post("/check", `{"mode":"some","checks":[{"key":"a"}]}`), 400, nil},
		{"unknown field", post("/check", `{"key":"a","cosst":100}`), 400, nil},
		{"cost over burst", post("/check", `{"key":"a","rate":1,"interval":"1s","cost":2}`), 422, []string{"a"}},
		{"a body on a GET", "GET /v1/check/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 400, nil},
		{"no endpoint", get("/"), 404, nil},
		{"near an endpoint", get("/v1/check"), 405, nil},
		{"/check/", post("/check/", good), 404, nil},
		{"/CHECK", post("/CHECK", good), 404, nil},
		{"escaped endpoint", post("/c%68eck", good), 404, nil},
		{"unknown query", get("/v1/check/a?cosst=1"), 400, nil},
		{"repeated query", get("/v1/check/a?cost=1&cost=2"), 400, nil},
		{"repeated query in disguise", get("/v1/check/a?cost=1&c%6fst=2"), 400, nil},
		{"empty value", get("/v1/check/a?cost="), 400, nil},
		{"+1", get("/v1/check/a?cost=%2B1"), 400, nil},
		{"1e2", get("/v1/check/a?cost=1e2"), 400, nil},
		{"a number with JSON behind it", get("/v1/check/a?cost=1,%22policy%22:%22x%22"), 400, nil},
		{"an interval with JSON behind it", get("/v1/check/a?rate=5&interval=1s%22,%22cost%22:0,%22policy%22:%22x"), 400, nil},
		{"rate without interval", get("/v1/check/a?rate=5"), 400, nil},
		{"semicolon", get("/v1/check/a?rate=5;interval=1s"), 400, nil},
		{"bad escape in the query", get("/v1/check/a?cost=%zz"), 400, nil},
		{"another site's page", get("/v1/check/a", "Sec-Fetch-Site: cross-site"), 403, nil},
		{"another port's page", post("/check", good, "Sec-Fetch-Site: same-site"), 403, nil},
		{"another origin", post("/check", good, "Origin: http://evil.example"), 403, nil},
		{"no origin at all", post("/check", good, "Origin: null"), 403, nil},
		{"its own page", post("/check", good, "Origin: http://x", "Sec-Fetch-Site: same-origin"), 200, []string{"user_123"}},
		{"typed into a browser", get("/v1/check/a", "Sec-Fetch-Site: none"), 200, []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService()
			addr := listen(t, httpbridge.New(direct{s}, httpbridge.Options{}), httpbridge.ServerOptions{})
			responses, open := exchange(t, addr, tt.raw)
			if len(responses) != 1 {
				t.Fatalf("%d responses to one request", len(responses))
			}
			resp := responses[0]
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if got := s.asked(); !slices.Equal(got, tt.keys) {
				t.Errorf("the service was asked about %q, want %q", got, tt.keys)
			}
			if (tt.status == 411 || tt.status == 413) && (open || !resp.Close) {
				t.Errorf("the connection stays open: open %t, Connection: close %t", open, resp.Close)
			}
			if resp.Header.Get("Location") != "" || resp.Header.Get("X-Evil") != "" {
				t.Errorf("headers %v", resp.Header)
			}
			if tt.status == 405 && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			// What net/http refuses by itself is plain text.
			if resp.Header.Get("Content-Type") != "application/json" && !slices.Contains([]int{400, 431, 501}, tt.status) {
				t.Errorf("Content-Type %q", resp.Header.Get("Content-Type"))
			}
		})
	}
}

// TestCutOffBody has less body than Content-Length promises.
func TestCutOffBody(t *testing.T) {
	s := newService()
	addr := listen(t, httpbridge.New(direct{s}, httpbridge.Options{}), httpbridge.ServerOptions{})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"key\":\"user_123\"}"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wantError(t, resp, 400, "invalid_request")
	if got := s.asked(); got != nil {
		t.Errorf("asked about %q", got)
	}
}

// TestLongBody has one byte more than Content-Length says. What is too much is
// the start of another request, which is refused.
func TestLongBody(t *testing.T) {
	s := newService()
	addr := listen(t, httpbridge.New(direct{s}, httpbridge.Options{}), httpbridge.ServerOptions{})
	responses, open := exchange(t, addr, "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"key\":\"user_123\"}\r\n\r\n")
	if len(responses) != 2 || responses[0].StatusCode != 400 || responses[1].StatusCode != 400 || open {
		t.Errorf("%d responses, open %t", len(responses), open)
	}
	if got := s.asked(); got != nil {
		t.Errorf("asked about %q", got)
	}
}
