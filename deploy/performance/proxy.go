package main

import (
	"net"
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// proxy passes connections on to a server, and every answer a while later, so
// that the server seems to be further away. Answers do not wait for each
// other: it makes the way longer, and not narrower.
type proxy struct {
	addr   string // to connect to
	target string
	delay  time.Duration
	listen net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool // to the server
	closed bool
}

// startProxy starts a proxy, which the caller closes. A delay of zero only
// passes on.
func startProxy(target string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), target: target, delay: delay, listen: l, open: make(map[net.Conn]bool)}
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(client) })
		}
	})
	return p, nil
}

// close ends all connections, and returns when nothing is left of them.
func (p *proxy) close() {
	_ = p.listen.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// keep makes close close c too, or closes it if that is over.
func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	if p.closed {
		_ = c.Close()
	}
}

// drop closes c.
func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	_ = c.Close()
}

// serve passes one connection on until either side ends it.
func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.keep(server)
	defer p.drop(server)

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		defer client.Close()
		p.answer(client, server)
	})
}

// late is a piece of an answer, and when it is to arrive.
type late struct {
	due  time.Time
	text []byte
}

// answer passes on what the server says.
func (p *proxy) answer(client, server net.Conn) {
	under := make(chan late, 1024)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(under)
	wg.Go(func() {
		wait := bench.NewSleeper()
		for piece := range under {
			wait.Sleep(time.Until(piece.due))
			if _, err := client.Write(piece.text); err != nil {
				_ = server.Close() // which ends the reading
			}
		}
	})
	for {
		buf := make([]byte, 16<<10)
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		under <- late{time.Now().Add(p.delay), buf[:n]}
	}
}
