package main

import (
	"fmt"
	"io"
)

// printBanner tells somebody who has just started the all-in-one daemon what
// is where, what is missing, and what to try.
func (d *Daemon) printBanner(w io.Writer) {
	natsURL, natsNote := redactURLs(d.cfg.NATSURL), ""
	if d.nats != nil {
		natsURL, natsNote = d.nats.ClientURL(), "  (embedded)"
	}
	buckets, note := "memory", "  (degraded: not shared with other processes, lost on restart; set REDIS_URL to keep them in Redis)"
	if d.failover != nil {
		buckets, note = d.cfg.redis().Where(), ""
		if s := d.failover.Status(); !s.Up() {
			note = fmt.Sprintf("  (degraded: not reachable, so buckets are in memory until it is: %v)", s.Err)
		}
	}
	limit := "none: a check must bring one along"
	if rule := d.cfg.DefaultLimit.rule; rule != nil {
		limit = rule.Limit().String() + "  (of keys that bring none along)"
	}
	fmt.Fprintf(w, `ratelimitd %s is ready

  NATS     %s%s
  HTTP     %s
  admin    %s/metrics  /health  /readyz
  buckets  %s%s
  limit    %s

Try, in another terminal:

  curl -d '{"key":"user_123","rate":5,"interval":"1s"}' %s/check
  nats req ratelimit.check.user_123 ''
  ratelimit check user_123 --rate 5 --interval 1s

Ctrl-C stops it. Settings: ratelimitd config
`, version, natsURL, natsNote, d.httpURL, d.adminURL, buckets, note, limit, d.httpURL)
}
