package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// machine says what everything runs on, and how busy that was before.
func machine(ctx context.Context, programs, busy string) string {
	version := func(name string, args ...string) string {
		out, err := output(ctx, name, args...)
		if err != nil {
			return "of unknown version"
		}
		return strings.TrimSpace(string(out))
	}
	redis := "redis-server"
	for _, word := range strings.Fields(version("redis-server", "--version")) {
		if v, ok := strings.CutPrefix(word, "v="); ok {
			redis += " " + v
		}
	}
	nats := strings.ReplaceAll(version(filepath.Join(programs, "nats-server"), "--version"), ": v", " ")
	return fmt.Sprintf("%s: %s, %d cores, load %s before; %s, %s, %s",
		time.Now().Format(time.DateOnly), processor(), runtime.NumCPU(), busy, runtime.Version(), nats, redis)
}

// processor returns the name of the processor.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load returns how many processes were running in the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	if words := strings.Fields(string(text)); len(words) > 0 {
		return words[0]
	}
	return "unknown"
}
