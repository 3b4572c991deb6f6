package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
	"github.com/quotaworker/ratelimit/worker/natsembed"
	"github.com/quotaworker/ratelimit/worker/policykv"
)

var policyChanges = flag.Int("policy-changes", 100, "how often TestPoliciesChangeUnderLoad changes the policies through the file, and again through KV")

// The two limits that the policies change between. A bucket takes a second to
// fill under either.
const slow, fast = 50, 100

func ofRate(rate int) string { return fmt.Sprintf("policies: [{match: hot, limits: %d/s}]", rate) }

// TestPoliciesChangeUnderLoad changes a policy a hundred times through the
// file, and a hundred times through KV, while fifty callers ask three workers
// for one key: no check fails, not one token too many is granted, and each
// change is everywhere in a second.
func TestPoliciesChangeUnderLoad(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		f := newPolicyFile(t, ofRate(slow))
		changeUnderLoad(t, startNATS(t), f.setting(), f.write)
	})
	t.Run("kv", func(t *testing.T) {
		t.Parallel()
		url := startNATSWithBuckets(t)
		bucket := newPolicyBucket(t, url, ofRate(slow))
		changeUnderLoad(t, url, bucket.setting(), bucket.write)
	})
}

// changeUnderLoad is the test. Write returns when a version has been accepted,
// by the file system or by NATS.
func changeUnderLoad(t *testing.T, url, setting string, write func(text string)) {
	redis := redistest.Start(t).URL()
	var workers []*Daemon
	for range 3 {
		workers = append(workers, start(t, roleWorker, "NATS_URL="+url, "REDIS_URL="+redis, setting))
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stalled := stopwatch(t)

	// A token costs the bucket a second divided by its rate, and what a bucket
	// has at most, or gets in a second, is a second: so this never grows faster
	// than time, whoever decides by which limit.
	var spent atomic.Int64
	load := tally{onAdmitted: func(res client.Result) { spent.Add(int64(time.Second) / res.Limit) }}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(done)
		hammer(ctx, t, url, 50, 5*time.Millisecond, &load)
	}()
	var took []time.Duration
	for i := range *policyChanges {
		took = append(took, changeOnce(t, workers, func() { write(ofRate([]int{fast, slow}[i%2])) }))
		// Both limits are to grant something.
		granted := load.admitted.Load()
		eventually(t, "something is granted", 10*time.Second, func() bool { return load.admitted.Load() > granted+1 })
	}
	stop()
	<-done
	elapsed := time.Since(begin)

	// What the others are told is what the workers go by.
	eventually(t, "all workers tell of the last version", 10*time.Second, func() bool {
		services := make(map[string]httpbridge.ServiceHealth)
		found := askWorkers(t.Context(), nc)
		addPoliciesHealth(services, found)
		return len(found) == len(workers) && services["policies"].Status == httpbridge.Healthy &&
			strings.HasSuffix(services["policies"].Message, "revision "+workers[0].policies.Status().Revision)
	})
	slices.Sort(took)
	most := elapsed + time.Second
	least := most*9/10 - stalled()
	t.Logf("%d changes in %s: everywhere after %s at the median, %s at worst, while the machine stalled for %s at worst",
		len(took), elapsed.Round(time.Millisecond), took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), stalled().Round(time.Millisecond))
	t.Logf("%s; their tokens come to %.3f s of at most %.3f s", &load, time.Duration(spent.Load()).Seconds(), most.Seconds())
	if load.failed.Load() > 0 || load.degraded.Load() > 0 {
		t.Errorf("failed or degraded: %s", &load)
	}
	if got := time.Duration(spent.Load()); got > most || got < least {
		t.Errorf("tokens worth %s were granted, want between %s and %s", got, least, most)
	}
	if half, all := took[len(took)/2], took[len(took)-1]; half > time.Second || all > time.Second+stalled() {
		t.Errorf("half the changes were everywhere after %s, all of them after %s; want a second (and the machine stalled for %s)", half, all, stalled())
	}
}

// changeOnce makes a change and returns how long it took from when it was
// accepted until the last worker went by it, by the workers' own account: how
// late the test looks does not count.
func changeOnce(t *testing.T, workers []*Daemon, change func()) time.Duration {
	t.Helper()
	loads := func() (n uint64) {
		for _, w := range workers {
			n += w.policies.Status().Loads
		}
		return n
	}
	before := loads()
	change()
	accepted := time.Now()
	eventually(t, "the change is everywhere", 30*time.Second, func() bool { return loads() == before+uint64(len(workers)) })
	var slowest time.Duration
	for _, w := range workers {
		s := w.policies.Status()
		if s.Revision != workers[0].policies.Status().Revision || !s.OK {
			t.Fatalf("a worker has %+v, another one %+v", s, workers[0].policies.Status())
		}
		slowest = max(slowest, s.LoadedAt.Sub(accepted))
	}
	return slowest
}

// startNATSWithBuckets is startNATS with JetStream.
func startNATSWithBuckets(t *testing.T) string {
	t.Helper()
	s, err := natsembed.Start(natsembed.Options{Port: natsembed.RandomPort, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s.ClientURL()
}

// policyBucket is a bucket of policies that can be replaced.
type policyBucket struct {
	t        *testing.T
	store    *policykv.Store
	revision uint64
}

func newPolicyBucket(t *testing.T, url, text string) *policyBucket {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	store, err := policykv.Create(t.Context(), js, policykv.DefaultBucket)
	if err != nil {
		t.Fatal(err)
	}
	b := &policyBucket{t: t, store: store}
	b.write(text)
	return b
}

// write puts the next version.
func (b *policyBucket) write(text string) {
	b.t.Helper()
	var err error
	if b.revision, err = b.store.Put(b.t.Context(), []byte(text), b.revision); err != nil {
		b.t.Fatal(err)
	}
}

func (b *policyBucket) setting() string { return "RATELIMIT_POLICIES_KV=" + policykv.DefaultBucket }
