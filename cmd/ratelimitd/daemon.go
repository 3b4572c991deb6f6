package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/failover"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/worker"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// role is what a daemon does.
type role string

const (
	roleAll    role = "all-in-one" // everything, on embedded parts where none are configured
	roleWorker role = "worker"     // decides checks
	roleBridge role = "bridge"     // the HTTP door
)

func (r role) works() bool   { return r != roleBridge }
func (r role) bridges() bool { return r != roleWorker }

// Daemon is the running program: every part, and how to stop it. The parts
// that a role does not have, or that are not configured, are nil.
type Daemon struct {
	cfg     Config
	role    role
	log     *slog.Logger
	metrics *prometheus.Registry
	started time.Time

	nats     *natsembed.Server
	nc       *nats.Conn // of the worker
	redis    redis.UniversalClient
	memory   *memstore.Store
	failover *failover.Store
	denials  *denycache.Cache
	policies *policy.Book
	batcher  *batch.Batcher
	worker   *worker.Worker
	clientNC *nats.Conn // of the bridge

	httpURL, adminURL string

	parts  []part     // what was started, in order
	failed chan error // of a part that ended by itself
}

// part is something that Close stops.
type part struct {
	name string
	stop func(context.Context) error
}

// openDaemon starts the parts of a role. On an error it has stopped what it
// had started.
func openDaemon(ctx context.Context, cfg Config, r role, log *slog.Logger) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, role: r, log: log, metrics: prometheus.NewRegistry(), started: time.Now(), failed: make(chan error, 8)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// What the operator has to mend comes first: policies with errors, and
	// ports that are taken.
	if r.works() {
		if err := d.openPolicies(); err != nil {
			return nil, err
		}
	}
	adminListener, err := listen(cfg.AdminAddr, "RATELIMIT_ADMIN_ADDR")
	if err != nil {
		return nil, err
	}
	d.add(part{"admin listener", func(context.Context) error { adminListener.Close(); return nil }})
	var httpListener net.Listener
	if r.bridges() {
		if httpListener, err = listen(cfg.HTTPAddr, "RATELIMIT_HTTP_ADDR"); err != nil {
			return nil, err
		}
		d.add(part{"http listener", func(context.Context) error { httpListener.Close(); return nil }})
	}

	if r == roleAll && cfg.NATSURL == "" {
		if err := d.openNATS(); err != nil {
			return nil, err
		}
	}
	if r.works() {
		if err := d.openPoliciesKV(); err != nil {
			return nil, err
		}
		d.openStores()
		if err := d.openWorker(); err != nil {
			return nil, err
		}
	}
	health := httpbridge.NewHealthHandler(d.health)
	d.serve("admin", adminListener, adminMux(d.metrics, health))
	d.adminURL = urlOf(adminListener)
	if r.bridges() {
		if err := d.openBridge(httpListener); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// openStores builds what decides: memory alone, or Redis with memory behind it
// and what was denied before it.
func (d *Daemon) openStores() {
	d.memory = memstore.New(memstore.Options{Keys: d.cfg.MemoryKeys})
	var store limiter.Store = d.memory
	if d.cfg.hasRedis() {
		rdb, err := redisstore.Open(d.cfg.redis())
		if err != nil {
			panic(err) // the config was validated
		}
		d.redis = rdb
		d.add(part{"redis", func(context.Context) error { return rdb.Close() }})
		errs := newRedisErrors(d.metrics)
		shared := redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: d.cfg.RedisStrategy, HashTagTokens: d.cfg.HashTagTokens, Logger: d.log})
		d.failover = failover.New(shared, d.memory, failover.Options{
			Timeout:      d.cfg.RedisTimeout,
			ProbeTimeout: max(d.cfg.RedisTimeout, probeTimeout),
			Logger:       d.log.With("redis", d.cfg.redis().Where()),
			OnError:      errs.count,
		})
		d.add(part{"failover", func(context.Context) error { d.failover.Close(); return nil }})
		store = d.failover
		if d.cfg.DenyCache {
			d.denials = denycache.New(store, denycache.Options{})
			store = d.denials
		}
	}
	d.batcher = batch.New(store, batch.Options{Queue: d.cfg.Queue, Size: d.cfg.Batch})
	d.add(part{"batcher", d.batcher.Close})
	d.metrics.MustRegister(storeCollector{d})
}

// openWorker connects to NATS and begins to answer.
func (d *Daemon) openWorker() error {
	nc, err := d.connect("worker", nats.RetryOnFailedConnect(d.role == roleWorker))
	if err != nil {
		return err
	}
	d.nc = nc
	d.add(part{"nats connection", func(context.Context) error { nc.Close(); return nil }})
	o := worker.Options{
		Version:      semver(version),
		Instance:     d.cfg.Instance,
		Metadata:     map[string]string{"policies": d.cfg.policiesFrom()},
		Policies:     d.policies,
		Denials:      d.denials,
		InlineLimits: inlineLimits[d.cfg.InlineLimits],
		MaxAge:       d.cfg.MaxAge,
		Status:       d.workerStatus,
		Logger:       d.log,
		Registerer:   d.metrics,
	}
	if rule := d.cfg.DefaultLimit.rule; rule != nil {
		o.DefaultLimit = rule.Limit()
	}
	if d.worker, err = worker.New(nc, d.batcher, o); err != nil {
		return err
	}
	d.add(part{"worker", d.worker.Stop})
	return nil
}

// openBridge connects to NATS as a client and begins to serve HTTP.
func (d *Daemon) openBridge(l net.Listener) error {
	nc, err := d.connect("bridge", nats.RetryOnFailedConnect(d.role == roleBridge))
	if err != nil {
		return err
	}
	d.clientNC = nc
	d.add(part{"bridge connection", func(context.Context) error { nc.Close(); return nil }})
	c, err := client.New(nc)
	if err != nil {
		return err
	}
	if !d.cfg.HTTPAddr.loopback() {
		d.log.Warn("the HTTP bridge can be reached from other machines and asks nobody for a password; keep it inside your network", "addr", l.Addr().String())
	}
	d.serve("bridge", l, httpbridge.New(c, httpbridge.Options{
		Admin:       d.cfg.HTTPAdmin,
		MaxInFlight: d.cfg.HTTPInFlight,
		Timeout:     d.cfg.HTTPTimeout,
		Health:      d.health,
		Registerer:  d.metrics,
		Logger:      d.log,
	}))
	d.httpURL = urlOf(l)
	return nil
}

// Failed delivers the error of a part that ended by itself; the daemon is
// then of no use and should be closed and started anew.
func (d *Daemon) Failed() <-chan error { return d.failed }

func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // somebody has failed before
	}
}

// Close stops the parts in reverse order, which first stops what takes checks
// in and then what answers them: no check that was accepted is lost. The error
// joins what went wrong. It takes at most the drain timeout, plus a little.
func (d *Daemon) Close() error {
	deadline := time.Now().Add(d.cfg.DrainTimeout)
	var errs []error
	for i := len(d.parts) - 1; i >= 0; i-- {
		// A part that has nothing to do needs a moment too, even if the one
		// before it used up the time.
		ctx, cancel := context.WithTimeout(context.Background(), max(time.Until(deadline), time.Second))
		if err := d.parts[i].stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping the %s: %w", d.parts[i].name, err))
		}
		cancel()
	}
	d.parts = nil
	return errors.Join(errs...)
}

func (d *Daemon) add(p part) { d.parts = append(d.parts, p) }

var _ io.Closer = (*Daemon)(nil)
