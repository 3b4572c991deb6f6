package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker"
)

// openPolicies reads the policies, and reads them again when their file
// changes and on SIGHUP. A file with errors is refused now, and later leaves
// the policies as they are.
func (d *Daemon) openPolicies() error {
	if d.cfg.Policies == "" {
		return nil
	}
	book := policy.NewBook()
	// It is the caller who hears what is wrong now, and not the log.
	if err := policy.NewFile(d.cfg.Policies, book, slog.New(slog.DiscardHandler)).Load(); err != nil {
		return fmt.Errorf("%w: RATELIMIT_POLICIES names a file that cannot be used:\n%w", errUsage, err)
	}
	d.policies = book
	d.metrics.MustRegister(policyCollector{book})

	file := policy.NewFile(d.cfg.Policies, book, d.log)
	ctx, stop := context.WithCancel(context.Background())
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var running sync.WaitGroup
	running.Go(func() { file.Watch(ctx) })
	running.Go(func() {
		for {
			select {
			case <-hup:
				_ = file.Load() // the error is logged, and in the status
			case <-ctx.Done():
				return
			}
		}
	})
	d.add(part{"policies", func(context.Context) error {
		signal.Stop(hup)
		stop()
		running.Wait()
		return nil
	}})
	return nil
}

// policyStatus fills in what the status of a worker says about its policies.
func policyStatus(s *worker.Status, book *policy.Book) {
	if book == nil {
		return
	}
	st := book.Status()
	s.Policies = st.Policies
	s.PoliciesRevision = st.Revision
	if st.LastError != nil {
		s.PoliciesError, _, _ = strings.Cut(st.LastError.Error(), "\n")
	}
}

// addPoliciesHealth says which policies these workers go by, if any of them
// should have some. One that has none, or others than the rest, decides
// differently, and which worker decides is chance.
func addPoliciesHealth(services map[string]httpbridge.ServiceHealth, workers []worker.Status) {
	var older, none, unset int
	var olderWhy, noneWhy, inForce string
	revisions := make(map[string]bool)
	for _, w := range workers {
		switch {
		case w.PoliciesRevision != "":
			revisions[w.PoliciesRevision] = true
			inForce = fmt.Sprintf("%d policies, revision %s", w.Policies, w.PoliciesRevision)
			if w.PoliciesError != "" {
				older, olderWhy = older+1, w.PoliciesError
			}
		case w.PoliciesError != "":
			none, noneWhy = none+1, w.PoliciesError
		default:
			unset++
		}
	}
	if unset == len(workers) {
		return
	}
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if older > 0 {
		problem("%d of %d workers keep older policies, because the last version cannot be used: %s", older, len(workers), olderWhy)
	}
	if none > 0 {
		problem("%d of %d workers have no policies: %s", none, len(workers), noneWhy)
	}
	if unset > 0 {
		problem("%d of %d workers have no policies: give all workers the same RATELIMIT_POLICIES or RATELIMIT_POLICIES_KV", unset, len(workers))
	}
	if len(revisions) > 1 {
		problem("%d workers go by %d different versions of the policies", len(workers)-none-unset, len(revisions))
	}
	h := httpbridge.ServiceHealth{Status: httpbridge.Healthy, Message: inForce}
	if len(problems) > 0 {
		h = httpbridge.ServiceHealth{Status: httpbridge.Degraded, Message: strings.Join(problems, "; ")}
	}
	services["policies"] = h
}

// policyCollector exposes how the policies in force came about.
type policyCollector struct{ book *policy.Book }

var (
	descPolicies       = desc("policies", "Policies in force.")
	descPolicyRevision = desc("policies_revision_info", "Always 1; the label names the version of the policies in force.", "revision")
	descPolicyOK       = desc("policies_last_reload_success", "1 if the last attempt to load the policies succeeded.")
	descPolicyTime     = desc("policies_last_reload_timestamp_seconds", "When the policies in force were loaded.")
	descPolicyLoads    = desc("policies_reloads_total", "Attempts to load the policies, by result.", "result")
)

// Describe implements prometheus.Collector.
func (c policyCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c policyCollector) Collect(ch chan<- prometheus.Metric) {
	metric := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	s := c.book.Status()
	ok := 0.0
	if s.OK {
		ok = 1
	}
	metric(descPolicies, prometheus.GaugeValue, float64(s.Policies))
	metric(descPolicyRevision, prometheus.GaugeValue, 1, s.Revision)
	metric(descPolicyOK, prometheus.GaugeValue, ok)
	metric(descPolicyTime, prometheus.GaugeValue, float64(s.LoadedAt.UnixMilli())/float64(time.Second.Milliseconds()))
	metric(descPolicyLoads, prometheus.CounterValue, float64(s.Loads), "ok")
	metric(descPolicyLoads, prometheus.CounterValue, float64(s.Failures), "error")
}
