package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quotaworker/ratelimit/limiter/redisstore"
)

// storeCollector exposes the counts of the parts that decide. They know no
// metrics library; this reads them when somebody scrapes.
type storeCollector struct{ d *Daemon }

var (
	descQueued    = desc("queue_checks", "Checks that wait for their decision.")
	descBatches   = desc("batches_total", "Calls made to the store.")
	descChecks    = desc("batch_checks_total", "Checks decided by these calls.")
	descKeys      = desc("memory_buckets", "Buckets in the memory of this process.")
	descBytes     = desc("memory_bytes", "What these buckets take of it, room for a few more included.")
	descEvicted   = desc("memory_evictions_total", "Buckets dropped from memory while they were still filling, for want of room.")
	descDenials   = desc("deny_cache_buckets", "Buckets that the deny cache remembers.")
	descHits      = desc("deny_cache_hits_total", "Checks that the deny cache has answered.")
	descNotices   = desc("deny_cache_notices_total", "What workers told each other about denials, resets and refunds.", "direction")
	descDegraded  = desc("degraded", "1 while answers do not come from the shared store.")
	descBreaker   = desc("redis_breaker_open", "1 while Redis is not asked because it failed.")
	descLatency   = desc("redis_probe_latency_seconds", "How long Redis took to answer the last probe.")
	descPoolConns = desc("redis_pool_connections", "Connections to Redis.", "state")
	descPoolWaits = desc("redis_pool_timeouts_total", "Times that no connection to Redis was free in time.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ratelimit_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	b := c.d.batcher.Stats()
	gauge(descQueued, float64(b.Queued))
	counter(descBatches, b.Batches)
	counter(descChecks, b.Checks)
	m := c.d.memory.Stats()
	gauge(descKeys, float64(m.Keys))
	gauge(descBytes, float64(m.Bytes))
	counter(descEvicted, m.Evicted)

	if c.d.denials != nil {
		s := c.d.denials.Stats()
		gauge(descDenials, float64(s.Entries))
		counter(descHits, s.Hits)
		counter(descNotices, s.Shared, "sent")
		counter(descNotices, s.Heard, "received")
	}

	down := 1.0 // no Redis at all
	if c.d.failover != nil {
		s := c.d.failover.Status()
		if s.Up() {
			down = 0
		}
		gauge(descBreaker, down)
		gauge(descLatency, s.Latency.Seconds())
		p := c.d.redis.PoolStats()
		gauge(descPoolConns, float64(p.IdleConns), "idle")
		gauge(descPoolConns, float64(p.TotalConns-p.IdleConns), "used")
		counter(descPoolWaits, uint64(p.Timeouts))
	}
	gauge(descDegraded, down)
}

// redisErrors counts the errors of Redis by their kind.
type redisErrors struct{ total *prometheus.CounterVec }

func newRedisErrors(r prometheus.Registerer) redisErrors {
	e := redisErrors{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ratelimit_redis_errors_total",
		Help: "Calls to Redis that failed, by reason.",
	}, []string{"reason"})}
	r.MustRegister(e.total)
	return e
}

func (e redisErrors) count(err error) { e.total.WithLabelValues(redisstore.Reason(err)).Inc() }
