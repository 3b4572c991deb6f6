package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// logLevel is a slog.Level by its name.
type logLevel slog.Level

func (l *logLevel) UnmarshalText(text []byte) error {
	switch string(text) {
	case "debug", "info", "warn", "error":
		return (*slog.Level)(l).UnmarshalText(text)
	}
	return errors.New("must be debug, info, warn or error")
}

func (l logLevel) String() string { return strings.ToLower(slog.Level(l).String()) }

// logFormat is how log lines are written.
type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error {
	switch logFormat(text) {
	case "auto", "text", "json":
		*f = logFormat(text)
		return nil
	}
	return errors.New("must be text, json or auto")
}

// newLogger returns a logger that writes to w and names the instance.
func newLogger(w io.Writer, cfg *Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.Level(cfg.LogLevel)}
	var h slog.Handler = slog.NewJSONHandler(w, o)
	if cfg.LogFormat == "text" || cfg.LogFormat == "auto" && isTerminal(w) {
		h = slog.NewTextHandler(w, o)
	}
	return slog.New(h).With("instance", cfg.Instance)
}

// redisLogger passes on what the Redis library has to say. It reports every
// connection that fails, which the breaker sums up in one line.
type redisLogger struct{ log *slog.Logger }

// Printf implements the logging interface of go-redis.
func (l redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.log.Debug(fmt.Sprintf(format, v...))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
