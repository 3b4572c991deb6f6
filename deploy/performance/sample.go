package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what one round of a point came to.
type sample struct {
	perSecond           float64
	p50, p99            float64 // milliseconds
	redis, worker, nats float64 // processor time of a check in microseconds; 0: unknown
}

// outcome is what a point came to.
type outcome struct {
	point   point
	samples []sample
	note    string // besides
}

// errNoRoom is why a point was left out.
var errNoRoom = errors.New("left out: it takes 6 GB of memory")

// measure carries a series out: all points start, and then take turns.
func (s *series) measure(ctx context.Context, programs string, rounds int, length time.Duration) ([]outcome, error) {
	var outcomes []outcome
	var rigs []*rig
	defer func() {
		for _, r := range rigs {
			r.stop()
		}
	}()
	for _, p := range s.points {
		r, err := startRig(ctx, programs, p.layout)
		if err != nil {
			return nil, err
		}
		rigs = append(rigs, r)
		note, err := r.prepare(ctx, p)
		if err != nil && !errors.Is(err, errNoRoom) {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if err != nil {
			note = err.Error()
		}
		outcomes = append(outcomes, outcome{point: p, note: note})
	}
	for range rounds {
		for i := range outcomes {
			o := &outcomes[i]
			if o.note == errNoRoom.Error() {
				continue
			}
			got, err := rigs[i].sample(ctx, length, o.point.args)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.point.name, err)
			}
			o.samples = append(o.samples, got)
		}
	}
	return outcomes, nil
}

// warmup is how long each sample goes on before it is measured.
const warmup = 250 * time.Millisecond

func (r *rig) sample(ctx context.Context, length time.Duration, args []string) (sample, error) {
	before := processorTime(r.natsPID)
	report, err := r.bench(ctx, 1, length, append([]string{"--warmup", warmup.String()}, args...)...)
	if err != nil {
		return sample{}, err
	}
	rate := report.Service.PerSecond.Median
	// The time of the NATS server is that of the warmup too, in which checks
	// are not counted but as frequent.
	checks := rate * (length + warmup).Seconds()
	return sample{
		perSecond: rate,
		p50:       report.Service.Latency.P50.Median / 1000,
		p99:       report.Service.Latency.P99.Median / 1000,
		redis:     report.RedisCPU,
		worker:    report.WorkerCPU,
		nats:      (processorTime(r.natsPID) - before).Seconds() * 1e6 / checks,
	}, nil
}

// processorTime returns the processor time of a process, to 10 ms, or 0 where
// there is no /proc.
func processorTime(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// prepare gets a point ready, and says what can be said of it before.
func (r *rig) prepare(ctx context.Context, p point) (string, error) {
	if r.far != nil {
		way, err := ping(r.far.addr)
		return fmt.Sprintf("PING takes %.2f ms", way.Seconds()*1000), err
	}
	if p.fill == 0 {
		return "", nil
	}
	if p.fill > 1_000_000 && available() < 6<<30 {
		return "", errNoRoom
	}
	bytes, err := r.fill(ctx, p)
	if err != nil || p.fill < usualKeys { // too few to tell from what else there is
		return "", err
	}
	return fmt.Sprintf("%.0f bytes of Redis a key", bytes), nil
}

// fill puts a bucket for each key into Redis, so that the first check of a key
// is like all others, and returns how much memory one takes. It has one made by
// the service, and copies that.
func (r *rig) fill(ctx context.Context, p point) (float64, error) {
	prefix := ""
	for _, arg := range p.args {
		if value, ok := strings.CutPrefix(arg, "--prefix="); ok {
			prefix = value
		}
	}
	digits := len(strconv.Itoa(p.fill - 1))
	first := prefix + "." + strings.Repeat("0", digits)
	if _, err := output(ctx, filepath.Join(r.programs, "ratelimit"), "check", first, "--server", r.nats); err != nil {
		return 0, err
	}
	bucket, err := r.ask(ctx, "KEYS", "*"+first+"*")
	if err != nil {
		return 0, err
	}
	before, after, ok := strings.Cut(bucket, first)
	if !ok || strings.Contains(bucket, "\n") {
		return 0, fmt.Errorf("a check of %s left %q in Redis, and not one bucket", first, bucket)
	}
	const script = `
		local value = redis.call('GET', KEYS[1])
		for i = tonumber(ARGV[4]), tonumber(ARGV[5]) do
			redis.call('SET', ARGV[1] .. string.format('%0' .. ARGV[3] .. 'd', i) .. ARGV[2], value, 'PX', 86400000)
		end`
	empty, err := r.memory(ctx)
	if err != nil {
		return 0, err
	}
	const piece = 100_000 // Redis does nothing else meanwhile
	// The first one is copied onto itself, so that it does not expire meanwhile.
	for from := 0; from < p.fill; from += piece {
		to := min(from+piece, p.fill) - 1
		if _, err := r.ask(ctx, "EVAL", script, "1", bucket,
			before+prefix+".", after, strconv.Itoa(digits), strconv.Itoa(from), strconv.Itoa(to)); err != nil {
			return 0, err
		}
	}
	full, err := r.memory(ctx)
	return (full - empty) / float64(p.fill-1), err
}

// memory returns how much Redis uses, in bytes.
func (r *rig) memory(ctx context.Context) (float64, error) {
	info, err := r.ask(ctx, "INFO", "memory")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("redis does not say how much memory it uses")
}

// available returns how many bytes of memory are free, or many if nobody says.
func available() int {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kilobytes, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return kilobytes << 10
		}
	}
	return 1 << 40
}

// ping returns the median time that Redis at addr takes for a PING.
func ping(addr string) (time.Duration, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var times []time.Duration
	for range 51 {
		start := time.Now()
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(conn, make([]byte, len("+PONG\r\n"))); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
