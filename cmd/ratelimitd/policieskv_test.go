package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quotaworker/ratelimit/worker/policykv"
)

func TestPoliciesFromKV(t *testing.T) {
	dir := t.TempDir()
	settings := []string{"RATELIMIT_NATS_STORE_DIR=" + dir, "RATELIMIT_POLICIES_KV=limits"}
	d := start(t, roleAll, settings...)
	if st := d.policies.Status(); st.OK || !strings.Contains(st.LastError.Error(), "nats kv add limits") {
		t.Errorf("without a bucket: got %+v", st)
	}
	nc, err := nats.Connect(d.nats.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := policykv.Create(ctx, js, "limits")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, []byte("policies:\n  - match: user.*\n    limits: 5/s\n"), 0); err != nil {
		t.Fatal(err)
	}
	for d.policies.Set().Match("user.1").Policy == nil {
		if ctx.Err() != nil {
			t.Fatalf("the daemon did not take the policies: %+v", d.policies.Status())
		}
		time.Sleep(time.Millisecond)
	}
	// A daemon that joins has them before it takes its first check.
	other := start(t, roleWorker, "NATS_URL="+d.nats.ClientURL(), "REDIS_URL=redis://127.0.0.1:1", "RATELIMIT_POLICIES_KV=limits")
	if other.policies.Set().Match("user.1").Policy == nil {
		t.Errorf("a worker began without the policies: %+v", other.policies.Status())
	}
}

func TestPoliciesKVSettings(t *testing.T) {
	for _, tt := range []struct {
		role    role
		environ []string
		want    string
	}{
		{roleAll, []string{"RATELIMIT_POLICIES_KV=a.b", "RATELIMIT_NATS_STORE_DIR=d"}, `RATELIMIT_POLICIES_KV is "a.b" and must be the name of a bucket`},
		{roleAll, []string{"RATELIMIT_POLICIES_KV=b"}, "RATELIMIT_POLICIES_KV needs RATELIMIT_NATS_STORE_DIR"},
		{roleAll, []string{"NATS_URL=nats://n", "RATELIMIT_NATS_STORE_DIR=d"}, "RATELIMIT_NATS_STORE_DIR is for the embedded NATS server"},
		{roleAll, []string{"NATS_URL=nats://n", "RATELIMIT_POLICIES_KV=b"}, ""},
		{roleAll, []string{"RATELIMIT_NATS_STORE_DIR=d", "RATELIMIT_POLICIES_KV=b"}, ""},
	} {
		_, _, err := loadConfig(tt.environ, tt.role)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%v: %v", tt.environ, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v: got %v, want %q", tt.environ, err, tt.want)
		}
	}
}
