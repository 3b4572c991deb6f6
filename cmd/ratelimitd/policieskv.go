package main

import (
	"context"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker/policykv"
)

// firstPolicies is how long to wait for the policies before checks are
// answered without.
const firstPolicies = 2 * time.Second

// openPoliciesKV follows the bucket with the policies. It has a connection of
// its own, because that of the worker must have no other subscriptions.
func (d *Daemon) openPoliciesKV() error {
	if d.cfg.PoliciesKV == "" {
		return nil
	}
	nc, err := d.connect("policies", nats.CustomInboxPrefix(policykv.InboxPrefix), nats.RetryOnFailedConnect(d.role == roleWorker))
	if err != nil {
		return err
	}
	d.add(part{"policies connection", func(context.Context) error { nc.Close(); return nil }})
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	d.policies = policy.NewBook()
	d.metrics.MustRegister(policyCollector{d.policies})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { policykv.Watch(ctx, js, d.cfg.PoliciesKV, d.policies, d.log) })
	d.add(part{"policies", func(context.Context) error {
		stop()
		running.Wait()
		return nil
	}})
	// The first checks should meet the policies, if there are any; that there
	// are none, or no server, is no reason not to begin.
	for deadline := time.Now().Add(firstPolicies); nc.IsConnected() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s := d.policies.Status(); s.Loads+s.Failures > 0 {
			break
		}
	}
	return nil
}

// policiesFrom says where the policies come from.
func (c *Config) policiesFrom() string {
	switch {
	case c.Policies != "":
		return "file " + c.Policies
	case c.PoliciesKV != "":
		return "bucket " + c.PoliciesKV
	}
	return "none"
}

var bucketName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// validatePolicies checks the settings about the bucket with the policies.
func (c *Config) validatePolicies(r role, bad func(name, format string, args ...any)) {
	embedded := r == roleAll && c.NATSURL == ""
	switch {
	case c.PoliciesKV != "" && c.Policies != "":
		bad("RATELIMIT_POLICIES_KV", "is set beside RATELIMIT_POLICIES; policies come from a bucket or from a file, so set one of them")
	case c.PoliciesKV != "" && !bucketName.MatchString(c.PoliciesKV):
		bad("RATELIMIT_POLICIES_KV", "is %q and must be the name of a bucket, of letters, digits, _ and -", c.PoliciesKV)
	case c.PoliciesKV != "" && embedded && c.NATSStoreDir == "":
		bad("RATELIMIT_POLICIES_KV", "needs RATELIMIT_NATS_STORE_DIR, the folder in which the embedded NATS server keeps the bucket")
	}
	if c.NATSStoreDir != "" && !embedded {
		bad("RATELIMIT_NATS_STORE_DIR", "is for the embedded NATS server, and this daemon has none; leave it out")
	}
}
