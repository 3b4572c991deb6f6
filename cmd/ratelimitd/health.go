package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/quotaworker/ratelimit/client/httpbridge"
	"github.com/quotaworker/ratelimit/worker"
)

// adminMux serves what operators and their tools ask for.
func adminMux(metrics *prometheus.Registry, health http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	for _, path := range []string{"GET /health", "GET /healthz", "GET /readyz"} {
		mux.Handle(path, health)
	}
	return mux
}

// health gathers the facts of GET /health. NATS is vital: without it no check
// arrives. Redis is not, because memory answers in its place.
func (d *Daemon) health(ctx context.Context) httpbridge.Health {
	h := httpbridge.Health{
		Uptime:     int64(time.Since(d.started).Seconds()),
		InstanceID: d.cfg.Instance,
		Services:   make(map[string]httpbridge.ServiceHealth),
	}
	nc := d.nc
	if nc == nil {
		nc = d.clientNC
	}
	h.Services["nats"] = natsHealth(nc)
	vital := []string{"nats"}
	if d.worker != nil {
		found := []worker.Status{d.workerStatus()}
		h.Services["redis"] = redisHealth(found)
		addPoliciesHealth(h.Services, found)
	} else if h.Services["nats"].Status == httpbridge.Healthy {
		found := askWorkers(ctx, nc)
		h.Services["workers"] = workersHealth(len(found))
		h.Services["redis"] = redisHealth(found)
		addPoliciesHealth(h.Services, found)
		vital = append(vital, "workers")
	}
	h.Status = httpbridge.Overall(h.Services, vital...)
	return h
}

// workerStatus says what this process decides by.
func (d *Daemon) workerStatus() worker.Status {
	st := worker.Status{Backend: "memory"}
	if d.failover != nil {
		s := d.failover.Status()
		st = worker.Status{Backend: "redis", Breaker: s.State, LatencyMS: float64(s.Latency.Microseconds()) / 1000}
	}
	policyStatus(&st, d.policies)
	return st
}

func natsHealth(nc *nats.Conn) httpbridge.ServiceHealth {
	if nc == nil || !nc.IsConnected() {
		return httpbridge.ServiceHealth{Status: httpbridge.Unhealthy, Message: "not connected to a NATS server: no check arrives; check NATS_URL and the server"}
	}
	rtt, err := nc.RTT()
	if err != nil {
		return httpbridge.ServiceHealth{Status: httpbridge.Unhealthy, Message: "the NATS server does not answer"}
	}
	return httpbridge.ServiceHealth{Status: httpbridge.Healthy, Latency: float64(rtt.Microseconds()) / 1000}
}

func workersHealth(n int) httpbridge.ServiceHealth {
	if n == 0 {
		return httpbridge.ServiceHealth{Status: httpbridge.Unhealthy, Message: "no worker answers; start one with: ratelimitd worker"}
	}
	return httpbridge.ServiceHealth{Status: httpbridge.Healthy, Message: fmt.Sprintf("%d answering", n)}
}

// redisHealth says how Redis is, as these workers see it.
func redisHealth(workers []worker.Status) httpbridge.ServiceHealth {
	var down, memory int
	var latency float64
	for _, w := range workers {
		switch {
		case w.Backend == "memory":
			memory++
		case w.Breaker != "closed":
			down++
		}
		latency = max(latency, w.LatencyMS)
	}
	switch {
	case len(workers) == 0:
		return httpbridge.ServiceHealth{Status: httpbridge.Unhealthy, Message: "not known: no worker answers"}
	case memory > 0:
		return httpbridge.ServiceHealth{Status: httpbridge.Degraded, Message: "not configured: buckets are in the memory of the worker, not shared and lost on restart; set REDIS_URL"}
	case down > 0:
		return httpbridge.ServiceHealth{Status: httpbridge.Unhealthy, Message: fmt.Sprintf("%d of %d workers cannot use Redis and answer from memory: limits hold per worker", down, len(workers))}
	}
	return httpbridge.ServiceHealth{Status: httpbridge.Healthy, Latency: latency}
}

// askWorkers asks every worker for its status, by the statistics of the NATS
// services framework, and returns what arrives within a short time.
func askWorkers(ctx context.Context, nc *nats.Conn) []worker.Status {
	subject, err := micro.ControlSubject(micro.StatsVerb, worker.ServiceName, "")
	if err != nil {
		return nil
	}
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil
	}
	// The first has a while; the others are expected with it.
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	var found []worker.Status
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil || msg.Header.Get("Status") != "" {
			return found // no more, or no responders
		}
		var stats struct {
			Endpoints []struct {
				Data worker.Status `json:"data"`
			} `json:"endpoints"`
		}
		if json.Unmarshal(msg.Data, &stats) == nil && len(stats.Endpoints) > 0 {
			found = append(found, stats.Endpoints[0].Data)
		}
		if len(found) == 1 {
			soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			ctx = soon
		}
	}
}
