package httpbridge_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/quotaworker/ratelimit/client/httpbridge"
)

// A program that is connected to NATS anyway can serve the bridge beside its
// own pages. The checker is what client.New returns.
func Example() {
	var checker httpbridge.Checker = direct{newService()} // c, err := client.New(nc)

	bridge := httpbridge.New(checker, httpbridge.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	mux.Handle("/check", bridge)
	mux.Handle("/v1/check/", bridge)

	server := httptest.NewServer(mux)
	defer server.Close()
	for range 3 {
		resp, err := http.Post(server.URL+"/check", "application/json", strings.NewReader(`{"key":"user_123","rate":2,"interval":"1h"}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get("X-RateLimit-Remaining"), resp.Header.Get("RateLimit-Policy"))
	}
	// Output:
	// 200 OK 1 "default";q=2;w=3600
	// 200 OK 0 "default";q=2;w=3600
	// 429 Too Many Requests 0 "default";q=2;w=3600
}
