package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
	"github.com/quotaworker/ratelimit/worker"
)

// policyFile is a file of policies that can be replaced.
type policyFile struct {
	t    *testing.T
	path string
}

func newPolicyFile(t *testing.T, text string) *policyFile {
	f := &policyFile{t, filepath.Join(t.TempDir(), "policies.yaml")}
	f.write(text)
	return f
}

// write replaces the file in one step, as editors and Kubernetes do.
func (f *policyFile) write(text string) {
	f.t.Helper()
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, f.path); err != nil {
		f.t.Fatal(err)
	}
}

func (f *policyFile) setting() string { return "RATELIMIT_POLICIES=" + f.path }

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestBadPoliciesRefuseToStart, and say where what is wrong stands.
func TestBadPoliciesRefuseToStart(t *testing.T) {
	f := newPolicyFile(t, "policies:\n  - match: user.*\n    limits: 10/fortnight\n")
	for path, want := range map[string]string{
		f.path:           "policies.yaml:3:13: ",
		f.path + ".gone": "there is no file ",
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), nil, []string{"RATELIMIT_POLICIES=" + path}, io.Discard, &stderr)
		if got := stderr.String(); code != 2 || !strings.Contains(got, "RATELIMIT_POLICIES names a file that cannot be used") || !strings.Contains(got, want) {
			t.Errorf("exit code %d, want 2 and %q:\n%s", code, want, got)
		}
		if strings.HasSuffix(path, ".yaml") && !strings.Contains(stderr.String(), "            ^\n") {
			t.Errorf("no mark under the column:\n%s", &stderr)
		}
	}
}

// TestPoliciesAreLive changes the file of a running daemon.
func TestPoliciesAreLive(t *testing.T) {
	f := newPolicyFile(t, "policies: [{match: user.*, name: users, limits: 10/h}]")
	d := start(t, roleAll, f.setting())
	c := dial(t, d.nats.ClientURL())
	limitOf := func() int64 {
		res, err := c.Peek(t.Context(), "user.1")
		if err != nil {
			t.Fatal(err)
		}
		return res.Limit
	}
	if got := limitOf(); got != 10 {
		t.Fatalf("the limit is %d, want 10", got)
	}
	f.write("policies: [{match: user.*, name: users, limits: 20/h}]")
	eventually(t, "the changed file counts", time.Second, func() bool { return limitOf() == 20 })

	revision := d.policies.Status().Revision
	f.write("policies: [{match: user.*, limits: nonsense}]")
	eventually(t, "the error is known", time.Second, func() bool { return !d.policies.Status().OK })
	if got := limitOf(); got != 20 {
		t.Errorf("after a version with errors the limit is %d, want 20", got)
	}
	metrics := get(t, d.adminURL+"/metrics")
	for _, want := range []string{
		"ratelimit_policies 1\n",
		`ratelimit_policies_revision_info{revision="` + revision + `"} 1` + "\n",
		"ratelimit_policies_last_reload_success 0\n",
		"ratelimit_policies_last_reload_timestamp_seconds ",
		`ratelimit_policies_reloads_total{result="error"} 1` + "\n",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if got := get(t, d.httpURL+"/health"); !strings.Contains(got, `"policies":{"status":"degraded","message":"1 of 1 workers keep older policies, because the last version cannot be used: policies.yaml:1:`) {
		t.Errorf("health is %s", got)
	}
	nc, err := nats.Connect(d.nats.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	msg, err := nc.Request("$SRV.STATS.ratelimit", nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(msg.Data) || !strings.Contains(string(msg.Data), `"policies_revision":"`+revision+`","policies_error":"policies.yaml:1:`) {
		t.Errorf("the statistics of the service are %s", msg.Data)
	}

	// A SIGHUP reads the file, changed or not.
	failures := d.policies.Status().Failures
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "SIGHUP is heard", time.Second, func() bool { return d.policies.Status().Failures > failures })
	f.write("policies: [{match: user.*, limits: 30/h}]")
	eventually(t, "the mended file counts", time.Second, func() bool { return limitOf() == 30 })
	eventually(t, "health knows it", 5*time.Second, func() bool { // it is remembered for a while
		return strings.Contains(get(t, d.httpURL+"/health"), `"policies":{"status":"healthy","message":"1 policies, revision sha256:`)
	})
}

func TestPoliciesHealth(t *testing.T) {
	has := func(revision, problem string) worker.Status {
		return worker.Status{Backend: "redis", Policies: 3, PoliciesRevision: revision, PoliciesError: problem}
	}
	for _, tt := range []struct {
		name    string
		workers []worker.Status
		want    string
	}{
		{"no policies anywhere", []worker.Status{has("", ""), has("", "")}, " "},
		{"nobody answers", nil, " "},
		{"one version", []worker.Status{has("7", ""), has("7", "")}, "healthy 3 policies, revision 7"},
		{"two versions", []worker.Status{has("7", ""), has("8", ""), has("8", "")}, "degraded 3 workers go by 2 different versions of the policies"},
		{"one without the setting", []worker.Status{has("7", ""), has("", "")},
			"degraded 1 of 2 workers have no policies: give all workers the same RATELIMIT_POLICIES or RATELIMIT_POLICIES_KV"},
		{"one that could not load any", []worker.Status{has("7", ""), has("", "no bucket")}, "degraded 1 of 2 workers have no policies: no bucket"},
		{"nobody could load any", []worker.Status{has("", "no bucket"), has("", "no bucket")}, "degraded 2 of 2 workers have no policies: no bucket"},
		{"everything at once", []worker.Status{has("7", "line 3"), has("8", ""), has("", "no bucket"), has("", "")},
			"degraded 1 of 4 workers keep older policies, because the last version cannot be used: line 3; " +
				"1 of 4 workers have no policies: no bucket; " +
				"1 of 4 workers have no policies: give all workers the same RATELIMIT_POLICIES or RATELIMIT_POLICIES_KV; " +
				"2 workers go by 2 different versions of the policies"},
	} {
		services := make(map[string]httpbridge.ServiceHealth)
		addPoliciesHealth(services, tt.workers)
		if got := fmt.Sprintf("%s %s", services["policies"].Status, services["policies"].Message); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// TestWorkerWithoutPolicies asks a bridge about three workers: one has
// policies, one was not told of any, and one looks for them where none are.
func TestWorkerWithoutPolicies(t *testing.T) {
	url, redis := startNATS(t), "REDIS_URL="+redistest.Start(t).URL()
	f := newPolicyFile(t, "policies: [{match: user.*, limits: 10/h}]")
	start(t, roleWorker, "NATS_URL="+url, redis, f.setting())
	start(t, roleWorker, "NATS_URL="+url, redis)
	start(t, roleWorker, "NATS_URL="+url, redis, "RATELIMIT_POLICIES_KV=limits")
	bridge := start(t, roleBridge, "NATS_URL="+url)
	for _, from := range []string{"file " + f.path, "none", "bucket limits"} {
		if info := serviceInfo(t, bridge.clientNC); !strings.Contains(info, `"policies":"`+from+`"`) {
			t.Errorf("the metadata of the services do not say policies: %s\n%s", from, info)
		}
	}
	eventually(t, "health knows all three", 10*time.Second, func() bool {
		h := get(t, bridge.httpURL+"/health")
		return strings.Contains(h, `"policies":{"status":"degraded"`) &&
			strings.Contains(h, "1 of 3 workers have no policies: give all workers the same") &&
			strings.Contains(h, "1 of 3 workers have no policies: the NATS server has no JetStream")
	})
}

// serviceInfo returns what the workers answer to `nats micro info`.
func serviceInfo(t *testing.T, nc *nats.Conn) string {
	t.Helper()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest("$SRV.INFO.ratelimit", inbox, nil); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for range 3 {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(msg.Data)
	}
	return all.String()
}

// TestOnOutage kills Redis and asks by policies that differ in what they want
// then.
func TestOnOutage(t *testing.T) {
	server := redistest.Start(t)
	f := newPolicyFile(t, `
policies:
  - {match: memory.*, name: memory, limits: 1/h}
  - {match: open.*, name: open, limits: 1/h, on_outage: allow}
  - {match: login.*, name: login, limits: 1/h, on_outage: deny}
`)
	url := startNATS(t)
	start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+server.URL(), f.setting())
	c := dial(t, url)
	ask := func(key string) string {
		t.Helper()
		res, err := c.Check(t.Context(), key)
		if err != nil {
			t.Fatalf("a check was not answered: %v", err)
		}
		return fmt.Sprintf("%t %s %t %s", res.Allowed, res.Source, res.Degraded, res.RetryAfter.Round(time.Second))
	}
	expect := func(key, want string) {
		t.Helper()
		if got := ask(key); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"memory.1", "open.1", "login.1"} {
		expect(key, "true redis false 0s")
	}
	server.Kill()
	for range 10 { // while the breaker is closed, and when it is open
		expect("open.1", "true policy true 0s")
		expect("login.1", "false policy true 1s")
	}
	expect("memory.2", "true memory true 0s")
	expect("memory.2", "false memory true 1h0m0s")
	server.Restart()
	eventually(t, "Redis answers", 5*time.Second, func() bool { return ask("login.2") == "true redis false 0s" })
}

// TestCheckAll takes a user and an address together, in Redis.
func TestCheckAll(t *testing.T) {
	f := newPolicyFile(t, "policies: [{match: user.*, limits: {second: 2/h, day: 10/d}}, {match: ip.*, limits: 1/h}]")
	url := startNATS(t)
	start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+redistest.Start(t).URL(), f.setting())
	c := dial(t, url)
	items := []client.Item{{Key: "user.1"}, {Key: "ip.1"}}
	first, err := c.CheckAll(t.Context(), items)
	if err != nil || !first.Allowed || first.RetryAfter != 0 || len(first.Results) != 2 || first.Results[0].Remaining != 1 || len(first.Results[0].Limits) != 2 {
		t.Fatalf("first: %+v, %v", first, err)
	}
	second, err := c.CheckAll(t.Context(), items)
	if err != nil || second.Allowed || second.RetryAfter < 59*time.Minute || !second.Results[0].Allowed || second.Results[1].Allowed || second.Results[0].Remaining != 1 {
		t.Errorf("second: %+v, %v", second, err)
	}
	if _, err := c.CheckAll(t.Context(), []client.Item{{Key: "ip.1"}, {Key: "ip.1"}}); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("one key twice: %v", err)
	}
}
