package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"

	"github.com/quotaworker/ratelimit/client/httpbridge"
)

// listen listens on addr, which the setting of that name has set.
func listen(a addr, name string) (net.Listener, error) {
	l, err := net.Listen("tcp", string(a))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, taken(string(a), name, "", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; change it with %s", a, err, name)
	}
	return l, nil
}

// taken says that an address is in use and how to choose another.
func taken(a, name, more string, err error) error {
	host, port, _ := net.SplitHostPort(a)
	return fmt.Errorf("port %s is taken: another program listens on %s; choose another with %s=%s%s (%w)",
		port, a, name, net.JoinHostPort(host, nextPort(port)), more, err)
}

// serve serves a handler until the daemon is closed.
func (d *Daemon) serve(name string, l net.Listener, h http.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		err := httpbridge.Serve(ctx, l, h, httpbridge.ServerOptions{Logger: d.log})
		if err != nil && ctx.Err() == nil {
			d.fail(fmt.Errorf("the %s listener: %w", name, err))
		}
	}()
	d.add(part{name + " server", func(context.Context) error { cancel(); wg.Wait(); return nil }})
}

// splitAddr splits a host:port whose port is a number.
func splitAddr(a addr) (string, int, error) {
	host, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not a number", port)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, int(n), nil
}

// nextPort suggests a port near one that is taken.
func nextPort(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		return port
	}
	if n >= 65535 {
		n = 1024
	}
	return strconv.Itoa(n + 1)
}

// urlOf returns the URL under which this machine reaches a listener.
func urlOf(l net.Listener) string {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}
