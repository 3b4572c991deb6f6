package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// openNATS starts the embedded NATS server.
func (d *Daemon) openNATS() error {
	host, port, err := splitAddr(d.cfg.NATSAddr)
	if err != nil {
		return fmt.Errorf("RATELIMIT_NATS_ADDR: %w", err)
	}
	if port == 0 {
		port = natsembed.RandomPort
	}
	d.nats, err = natsembed.Start(natsembed.Options{Name: d.cfg.Instance, Host: host, Port: port, StoreDir: d.cfg.NATSStoreDir, Logger: d.log})
	if errors.Is(err, natsembed.ErrPortInUse) {
		return taken(string(d.cfg.NATSAddr), "RATELIMIT_NATS_ADDR", "; if a NATS server runs there, set NATS_URL=nats://"+string(d.cfg.NATSAddr)+" to use it", err)
	}
	if err != nil {
		return err
	}
	d.add(part{"nats server", func(context.Context) error { d.nats.Shutdown(); return nil }})
	return nil
}

// connect connects to NATS, embedded or not, with the settings of the config.
// With nats.RetryOnFailedConnect it goes on trying in the background.
func (d *Daemon) connect(what string, opts ...nats.Option) (*nats.Conn, error) {
	url := d.cfg.NATSURL
	if url == "" {
		url = nats.DefaultURL
	}
	all := append(client.ConnectOptions(), nats.Name("ratelimitd "+what+" "+d.cfg.Instance))
	if d.nats != nil {
		all = append(all, d.nats.InProcess())
	} else {
		all = append(all, d.natsOptions()...)
	}
	all = append(all,
		nats.ClosedHandler(func(nc *nats.Conn) {
			// Only for good, and not by us: MaxReconnects is infinite.
			if err := nc.LastError(); err != nil {
				d.fail(fmt.Errorf("the NATS connection of the %s was closed by the server: %w", what, err))
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				d.log.Warn("lost the NATS server; reconnecting", "connection", what, "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			d.log.Info("connected to the NATS server again", "connection", what, "url", nc.ConnectedUrlRedacted())
		}),
	)
	nc, err := nats.Connect(url, append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to NATS at %s: %w; check NATS_URL and the credentials, and that a server runs there", redactURLs(url), err)
	}
	if !nc.IsConnected() {
		d.log.Warn("no NATS server yet; trying until there is one", "connection", what, "url", redactURLs(url))
	}
	return nc, nil
}

func (d *Daemon) natsOptions() []nats.Option {
	c := &d.cfg
	var opts []nats.Option
	if c.NATSCreds != "" {
		opts = append(opts, nats.UserCredentials(c.NATSCreds))
	}
	if c.NATSNKey != "" {
		opts = append(opts, func(o *nats.Options) error {
			nkey, err := nats.NkeyOptionFromSeed(c.NATSNKey)
			if err != nil {
				return fmt.Errorf("NATS_NKEY: %w", err)
			}
			return nkey(o)
		})
	}
	if c.NATSUser != "" {
		opts = append(opts, nats.UserInfo(c.NATSUser, c.NATSPassword))
	}
	if c.NATSToken != "" {
		opts = append(opts, nats.Token(c.NATSToken))
	}
	if c.NATSCert != "" {
		opts = append(opts, nats.ClientCert(c.NATSCert, c.NATSKey))
	}
	if c.NATSCA != "" {
		opts = append(opts, nats.RootCAs(c.NATSCA))
	}
	return opts
}
