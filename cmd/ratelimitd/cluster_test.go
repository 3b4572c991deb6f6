package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// TestCluster asks for several keys at once of a daemon on a Redis Cluster: keys
// that share a slot are taken at one moment, others in turn, and every door says
// so.
func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	items := []client.Item{{Key: "tenant.acme.user.1"}, {Key: "tenant.acme.ip.2"}, {Key: "tenant.acme"}}
	const body = `{"mode":"all","checks":[{"key":"tenant.acme.user.1"},{"key":"tenant.acme.ip.2"},{"key":"tenant.acme"}]}`
	for tokens, want := range map[string]bool{"0": true, "2": false} {
		d := start(t, roleAll, "REDIS_URL="+cluster.URL(), "RATELIMIT_DEFAULT_LIMIT=2/h", "RATELIMIT_HASH_TAG_TOKENS="+tokens)
		cluster.MustDo("FLUSHALL")
		got, err := dial(t, d.nats.ClientURL()).CheckAll(t.Context(), items)
		if err != nil || !got.Allowed || got.InTurn != want || got.Results[2].Source != "redis" {
			t.Errorf("%s tokens: %+v, %v; want in turn %t", tokens, got, err, want)
		}
		for i, status := range []int{http.StatusOK, http.StatusTooManyRequests} {
			resp, err := http.Post(d.httpURL+"/check", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != status || strings.Contains(string(text), `"in_turn":true`) != want || strings.Contains(string(text), `"degraded":true`) {
				t.Errorf("%s tokens, request %d: %d %s; want %d and in turn %t", tokens, i, resp.StatusCode, text, status, want)
			}
		}
	}
}
