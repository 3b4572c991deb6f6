package client_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies keeps the client thin: it is compiled into every service
// that asks, so what it imports, all of them carry, audit and upgrade. Only
// nats.go, which they have anyway, and the standard library are free.
func TestDependencies(t *testing.T) {
	const us = "github.com/quotaworker/ratelimit/"
	free := map[string]bool{us + "client": true, us + "client/wire": true}
	for _, pkg := range deps(t, "std") {
		free[pkg] = true
	}
	for _, pkg := range deps(t, us+"client/wire") {
		if !free[pkg] {
			t.Errorf("client/wire reaches %s; it may reach the standard library only, so that the protocol can be used without NATS", pkg)
		}
	}
	for _, pkg := range deps(t, "github.com/nats-io/nats.go") {
		free[pkg] = true
	}
	for _, pkg := range deps(t, us+"client") {
		if !free[pkg] {
			t.Errorf("client reaches %s; it may reach nats.go, client/wire and the standard library only, because every service that asks has to carry it", pkg)
		}
	}
}

// deps lists what a package is compiled from, without its tests.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	return strings.Fields(string(out))
}
