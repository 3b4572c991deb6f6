package redistest

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server and makes them fail on command.
// It is closed when the test ends. Its methods are safe for concurrent use.
type Proxy struct {
	// Addr is the host:port to connect to instead of the server's.
	Addr string

	mu     sync.Mutex // guards what follows
	target string
	conns  map[net.Conn]bool
	delay  time.Duration
	cut    []byte
	hole   bool
	reset  bool
	lost   int
}

// StartProxy starts a proxy before the server at target, which need not be
// there yet.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.Reset()
		wg.Wait()
	})
	return p
}

// Redirect passes new connections on to another server. Those that there are
// stay where they are, as after a failover.
func (p *Proxy) Redirect(target string) { p.set(func() { p.target = target }) }

// Delay holds every reply back for d.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Cut closes a connection in place of passing on the reply to a request that
// contains word: the server has done it, and nobody hears of it.
func (p *Proxy) Cut(word string) { p.set(func() { p.cut = []byte(word) }) }

// Lost returns how many replies Cut has kept back.
func (p *Proxy) Lost() (n int) { p.set(func() { n = p.lost }); return n }

// BlackHole swallows what either side sends, as a network that is gone does.
func (p *Proxy) BlackHole() { p.set(func() { p.hole = true }) }

// Reset breaks every connection, and every new one, with a TCP reset.
func (p *Proxy) Reset() {
	p.set(func() {
		p.reset = true
		for c := range p.conns {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	})
}

// Heal ends all faults. Connections that a black hole took bytes from are
// broken for good, and closed.
func (p *Proxy) Heal() {
	p.set(func() {
		if p.hole {
			for c := range p.conns {
				_ = c.Close()
			}
		}
		p.delay, p.cut, p.hole, p.reset = 0, nil, false, false
	})
}

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// serve passes one connection on in both directions until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	var target string
	p.set(func() { target = p.target })
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	p.set(func() { p.conns[client] = true })
	defer p.set(func() { delete(p.conns, client) })
	var reset bool
	if p.set(func() { reset = p.reset }); reset {
		_ = client.(*net.TCPConn).SetLinger(0)
		return
	}
	var doomed bool // the next reply is lost; guarded by p.mu
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		p.pass(server, client, false, func(b []byte) { doomed = doomed || len(p.cut) > 0 && bytes.Contains(b, p.cut) })
	})
	p.pass(client, server, true, func([]byte) {
		if doomed {
			p.lost++
			_ = client.Close()
		}
	})
	_ = client.Close()
	wg.Wait()
}

// pass copies from src to dst, replies or requests. It calls see with every
// piece before, under the lock.
func (p *Proxy) pass(dst, src net.Conn, replies bool, see func(b []byte)) {
	buf := make([]byte, 1<<20) // a request in one piece
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		var delay time.Duration
		var hole bool
		p.set(func() {
			see(buf[:n])
			hole = p.hole
			if replies {
				delay = p.delay
			}
		})
		time.Sleep(delay)
		if hole {
			continue
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}
