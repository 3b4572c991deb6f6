// Package natsembed runs a NATS server inside this process, for the
// all-in-one daemon and for tests. It is the only package that imports
// nats-server, so whoever does not import it does not carry the server.
//
//	srv, err := natsembed.Start(natsembed.Options{})
//	if err != nil { ... }
//	defer srv.Shutdown()
//	nc, err := nats.Connect("", srv.InProcess())
//
// The server listens on the loopback interface unless told otherwise: it asks
// nobody for a password. It is set up for short requests and replies: a
// client that no longer answers pings is dropped after 10 to 15 s rather than
// after minutes, because until then a frozen worker keeps getting its share of
// the checks, and a client that does not read is cut off after 2 s.
//
// With InProcessOnly the server opens no port and no socket at all, and works
// inside a testing/synctest bubble.
package natsembed

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Settings that differ from those of a nats-server of its own.
const (
	pingInterval  = 5 * time.Second
	maxPingsOut   = 2
	writeDeadline = 2 * time.Second
	maxPending    = 8 << 20
)

const (
	// DefaultPort is the port of a NATS server.
	DefaultPort = server.DEFAULT_PORT

	// RandomPort asks for any free port.
	RandomPort = server.RANDOM_PORT

	// DefaultMaxPayload is the largest message in bytes, headers included. It
	// has room for a request of wire.MaxChecks checks and for the reply,
	// which is longer.
	DefaultMaxPayload = 256 << 10

	// StoreMaxPayload is the same for a server that keeps buckets, in which a
	// value is a message: policies for 10,000 patterns are longer than
	// DefaultMaxPayload. It is what a NATS server of its own allows.
	StoreMaxPayload = server.MAX_PAYLOAD_SIZE
)

// ErrPortInUse is returned by Start when another process listens on the port.
var ErrPortInUse = errors.New("the port is in use")

// Options configures a Server. The zero value listens on 127.0.0.1:4222 and
// keeps nothing on disk.
type Options struct {
	// Name is what the server calls itself. Empty means a random name.
	Name string

	// Host is the address to listen on. Empty means 127.0.0.1.
	Host string

	// Port is the port to listen on: 0 means DefaultPort, RandomPort any free
	// one.
	Port int

	// InProcessOnly leaves Host and Port alone: only connections made with
	// InProcess reach the server.
	InProcessOnly bool

	// StoreDir is where JetStream keeps its streams. Empty turns JetStream
	// off.
	StoreDir string

	// MaxPayload is the largest message in bytes. 0 means DefaultMaxPayload,
	// and StoreMaxPayload with a StoreDir.
	MaxPayload int32

	// StartTimeout bounds how long Start waits for the server to be ready. 0
	// means 10 s.
	StartTimeout time.Duration

	// Logger receives what the server has to say: its notices as debug
	// messages, its warnings and errors as such. Nil discards them.
	Logger *slog.Logger
}

// Server is a running NATS server. It is safe for concurrent use.
type Server struct {
	srv           *server.Server
	inProcessOnly bool
}

// Start starts a server and returns when it takes connections. The error
// wraps ErrPortInUse when the port is taken, and names the port.
func Start(o Options) (*Server, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	switch {
	case o.MaxPayload != 0:
	case o.StoreDir != "":
		o.MaxPayload = StoreMaxPayload
	default:
		o.MaxPayload = DefaultMaxPayload
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !o.InProcessOnly {
		if err := probe(o.Host, o.Port); err != nil {
			return nil, err
		}
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:             o.Name,
		Host:                   o.Host,
		Port:                   o.Port,
		DontListen:             o.InProcessOnly,
		JetStream:              o.StoreDir != "",
		StoreDir:               o.StoreDir,
		MaxPayload:             o.MaxPayload,
		MaxPending:             maxPending,
		PingInterval:           pingInterval,
		MaxPingsOut:            maxPingsOut,
		WriteDeadline:          writeDeadline,
		NoSigs:                 true, // signals belong to the program
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("natsembed: the NATS server refused its options: %w", err)
	}
	srv.SetLoggerV2(logger{o.Logger}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(o.StartTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("natsembed: the NATS server on %s was not ready within %s; its log says why",
			net.JoinHostPort(o.Host, strconv.Itoa(o.Port)), o.StartTimeout)
	}
	return &Server{srv: srv, inProcessOnly: o.InProcessOnly}, nil
}

// probe listens on the port for a moment, because a server whose port is
// taken starts as if nothing were wrong and is merely never ready.
func probe(host string, port int) error {
	if port == RandomPort {
		port = 0
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("natsembed: port %d on %s: %w (by another NATS server?); choose another port, or connect to that server instead of starting one", port, host, ErrPortInUse)
	case err != nil:
		return fmt.Errorf("natsembed: cannot listen on port %d of %s: %w", port, host, err)
	}
	return ln.Close()
}

// ClientURL returns where clients connect, such as nats://127.0.0.1:4222. It
// is empty when the server is in process only.
func (s *Server) ClientURL() string {
	if s.inProcessOnly {
		return ""
	}
	return s.srv.ClientURL()
}

// InProcess returns the option with which nats.Connect, whatever its URL,
// reaches the server without a socket.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.srv) }

// Shutdown closes all connections and returns when the server has stopped.
// Calling it again does nothing.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}
