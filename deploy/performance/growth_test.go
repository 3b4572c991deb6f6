package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestGrowthTable(t *testing.T) {
	at := func(perSecond ...float64) []sample {
		var all []sample
		for i, v := range perSecond {
			all = append(all, sample{perSecond: v, p50: 1 + float64(i), p99: 2, redis: 2.5, worker: 1.5})
		}
		return all
	}
	table := growthTable{conditions: conditions{machine: "some machine", rounds: 3, round: 2 * time.Second}}
	table.add(series{name: "things"}, []outcome{
		{point: point{name: "one"}, samples: at(100_000, 50_000, 80_000)},
		// Slower in each round, though its fastest beats the slowest of the first.
		{point: point{name: "two"}, samples: at(80_000, 30_000, 40_000), note: "92 bytes of Redis a key"},
		{point: point{name: "many"}, note: errNoRoom.Error()},
	})
	golden(t, "growth.md", []byte(table.markdown()))
}

// TestKeysAreAsLongAsTheySay asks for the length of what ratelimit bench makes
// of a prefix and a number of keys.
func TestKeysAreAsLongAsTheySay(t *testing.T) {
	for _, c := range []struct{ length, n int }{
		{10, usualKeys}, {50, usualKeys}, {200, usualKeys},
		{usualLength, 1_000}, {usualLength, usualKeys}, {usualLength, 10_000_000},
	} {
		prefix := strings.TrimPrefix(key(c.length, c.n), "--prefix=")
		name := fmt.Sprintf("%s.%0*d", prefix, len(strconv.Itoa(c.n-1)), c.n-1)
		if len(name) != c.length {
			t.Errorf("key(%d, %d): %q has %d bytes", c.length, c.n, name, len(name))
		}
		if !strings.HasPrefix(name, "grow.") {
			t.Errorf("key(%d, %d): %q is of no policy", c.length, c.n, name)
		}
	}
}

// TestProxy asks a server through the proxy, one question after another and
// then many at a time: each answer is late, and they are late together.
func TestProxy(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	const delay = 30 * time.Millisecond
	p, err := startProxy(server.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))

	const questions = 100
	asked := make([]time.Time, questions)
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		for i := range questions {
			asked[i] = time.Now()
			if _, err := conn.Write([]byte{byte(i)}); err != nil {
				done <- err
				return
			}
			time.Sleep(time.Millisecond) // a piece of its own
		}
		done <- nil
	}()
	answers := make([]byte, questions)
	arrived := make([]time.Time, questions)
	for i := range answers {
		if _, err := io.ReadFull(conn, answers[i:i+1]); err != nil {
			t.Fatal(err)
		}
		arrived[i] = time.Now()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range answers {
		if answers[i] != byte(i) {
			t.Fatalf("answer %d is %d", i, answers[i])
		}
		if got := arrived[i].Sub(asked[i]); got < delay {
			t.Errorf("answer %d took %s, less than %s", i, got, delay)
		}
	}
	if took := arrived[questions-1].Sub(start); took > questions*delay/2 {
		t.Errorf("%d answers took %s: they waited for each other", questions, took)
	}
}

// TestProxyClose closes it under a connection that is in use.
func TestProxyClose(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := startProxy(server.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := server.Accept(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { p.close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("close does not return")
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}
