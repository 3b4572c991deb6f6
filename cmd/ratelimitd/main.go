// Ratelimitd is the daemon of the rate limiter.
//
// Without arguments it runs everything in one process, on embedded parts
// wherever no real ones are configured: a NATS server, a worker, the HTTP
// bridge. In production it runs as a worker or as a bridge:
//
//	ratelimitd           all in one
//	ratelimitd worker    decides checks that come over NATS, in Redis
//	ratelimitd bridge    takes checks over HTTP and asks the workers
//
// This is the one place where the parts are put together; see daemon.go for
// how, and config.go for what can be set.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // time zones of policies, where the machine has none
)

// version is set when the program is linked: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// semver makes a version that the NATS services framework takes.
func semver(v string) string {
	v = strings.TrimPrefix(v, "v")
	if len(strings.SplitN(v, ".", 3)) == 3 && v[0] >= '0' && v[0] <= '9' {
		return v
	}
	return "0.0.0-build-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, v)
}
