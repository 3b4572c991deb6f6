package httpbridge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// ServerOptions holds what bounds a server. The zero value is meant for use.
type ServerOptions struct {
	// ReadHeaderTimeout bounds the time until the header of a request is
	// there. 0 means 2 s.
	ReadHeaderTimeout time.Duration

	// ReadTimeout bounds the time until the whole request is there. 0 means
	// 5 s.
	ReadTimeout time.Duration

	// WriteTimeout bounds the time from the header of a request to the end of
	// its response, so it must be longer than ReadTimeout and Options.Timeout
	// together. 0 means 10 s.
	WriteTimeout time.Duration

	// IdleTimeout is how long a connection is kept for the next request. 0
	// means 60 s.
	IdleTimeout time.Duration

	// ShutdownTimeout bounds the time that requests are given to finish when
	// the server shuts down. 0 means 5 s.
	ShutdownTimeout time.Duration

	// MaxHeaderBytes bounds the header of a request; [net/http] adds 4 KiB
	// to it. 0 means 8 KiB.
	MaxHeaderBytes int

	// MaxConns bounds the connections at one time. More wait to be accepted.
	// 0 means 8192.
	MaxConns int

	// Logger hears of what goes wrong with connections. Nil means nobody.
	Logger *slog.Logger
}

// Serve answers the requests that come in on l with h until ctx is done. Then
// it closes l, lets the requests that have begun finish for at most
// ShutdownTimeout, and returns nil; or, if they did not finish, an error after
// it has cut them off. It closes l in any case, and no goroutine of it is left
// when it returns except those of handlers that do not return.
//
// It speaks HTTP/1.1 only. A proxy that terminates TLS in front of it can
// speak whatever it likes.
func Serve(ctx context.Context, l net.Listener, h http.Handler, o ServerOptions) error {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            cmp.Or(o.ReadHeaderTimeout, 2*time.Second),
		ReadTimeout:                  cmp.Or(o.ReadTimeout, 5*time.Second),
		WriteTimeout:                 cmp.Or(o.WriteTimeout, 10*time.Second),
		IdleTimeout:                  cmp.Or(o.IdleTimeout, time.Minute),
		MaxHeaderBytes:               cmp.Or(o.MaxHeaderBytes, 8<<10),
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		// Every connection that somebody breaks off ends up here, so it is
		// worth a look only when somebody looks for something.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(l, cmp.Or(o.MaxConns, 8192))) }()
	select {
	case err := <-served:
		_ = srv.Close() // the listener failed; connections that exist go with it
		return err
	case <-ctx.Done():
	}

	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(o.ShutdownTimeout, 5*time.Second))
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		_ = srv.Close()
		err = errors.New("the HTTP server cut off requests that were not answered in time; their callers see a broken connection")
	}
	<-served
	return err
}
