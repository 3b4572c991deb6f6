package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Meter returns the processor time that a process has used since it started.
type Meter func(ctx context.Context) (time.Duration, error)

// RedisMeter returns the Meter of the Redis server at a redis:// URL, and what
// closes it.
func RedisMeter(url string) (Meter, func() error, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; write redis://HOST:PORT", err)
	}
	opts.MaxRetries, opts.DialerRetries = -1, 1
	// The library logs on stderr what its errors say as well, and has one
	// logger for all clients.
	redis.SetLogger(quiet{})
	rdb := redis.NewClient(opts)
	return func(ctx context.Context) (time.Duration, error) {
		info, err := rdb.Info(ctx, "cpu").Result()
		if err != nil {
			return 0, err
		}
		return sum(strings.NewReader(info), ":", "used_cpu_sys", "used_cpu_user")
	}, rdb.Close, nil
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// MetricsMeter returns the Meter of a process that serves Prometheus metrics at
// a URL, such as http://127.0.0.1:9464/metrics of a worker.
func MetricsMeter(address string) (Meter, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of metrics; write one such as http://127.0.0.1:9464/metrics", address)
	}
	return func(ctx context.Context) (time.Duration, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return 0, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("%s answers %s", address, res.Status)
		}
		return sum(res.Body, " ", "process_cpu_seconds_total")
	}, nil
}

// Sum returns a Meter that adds up others.
func Sum(meters []Meter) Meter {
	return func(ctx context.Context) (time.Duration, error) {
		var all time.Duration
		for _, m := range meters {
			d, err := m(ctx)
			if err != nil {
				return 0, err
			}
			all += d
		}
		return all, nil
	}
}

// sum adds up the seconds in the lines of text that begin with one of the
// names and the separator.
func sum(text io.Reader, separator string, names ...string) (time.Duration, error) {
	var all time.Duration
	found := 0
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		for _, name := range names {
			value, ok := strings.CutPrefix(lines.Text(), name+separator)
			if !ok {
				continue
			}
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0, fmt.Errorf("%s is %q and not a number", name, value)
			}
			all += time.Duration(seconds * float64(time.Second))
			found++
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if found != len(names) {
		return 0, errors.New("it does not tell " + strings.Join(names, " and "))
	}
	return all, nil
}
