package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/synadia-io/orbit.go/natscontext"

	"github.com/quotaworker/ratelimit/client"
)

// connectingHelp is the manual of this file.
const connectingHelp = `Which NATS server is asked, and as whom, is said the way the nats command line
has it. Each setting is taken from its flag, else from its variable, else from
the NATS context:

  --server        NATS_URL       address, or several with commas between them
  --context       NATS_CONTEXT   NATS context to use, a name or the path of a file
  --creds         NATS_CREDS     credentials file
                  NATS_USER      user, with NATS_PASSWORD; without one, a token
                  NATS_NKEY      file with the seed of an NKey
                  NATS_TOKEN     token
                  NATS_CERT      client certificate, with NATS_KEY, its key
                  NATS_CA        certificates that the server's is checked with
  --inbox-prefix                 where answers come in, for users who may not
                                 subscribe to _INBOX.>
  --timeout       NATS_TIMEOUT   how long to wait (default 2s)

A context that you name is always used. The one selected with
"nats context select" is used only when neither --server nor NATS_URL names a
server, so its secrets go to its own server only. With neither, the server is
nats://127.0.0.1:4222.

Of several ways to say who you are, the first one of the list counts, and it
replaces that of the context. Secrets have no flags, because other users of the
machine can read a command line; and no message shows them.
`

func connectingTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "connecting",
		Short: "Which NATS server is asked, and as whom",
		Long:  connectingHelp,
	}
}

const defaultTimeout = 2 * time.Second

// connection holds the settings that say which NATS server to ask and as
// whom. No other file knows them.
type connection struct {
	env func(string) string

	// From flags; empty, or 0, if not given.
	server      string
	context     string
	creds       string
	inboxPrefix string
	timeout     time.Duration

	// changed reports whether a flag was given.
	changed func(flag string) bool

	// where says which server was tried and which setting chose it, without
	// secrets.
	where string
}

func (c *connection) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	c.changed = f.Changed
	f.StringVarP(&c.server, "server", "s", "", "NATS server to ask ($NATS_URL, else the selected NATS context, else "+nats.DefaultURL+")")
	f.StringVar(&c.context, "context", "", "NATS context to use ($NATS_CONTEXT)")
	f.StringVar(&c.creds, "creds", "", "NATS credentials file ($NATS_CREDS)")
	f.Lookup("creds").Annotations = map[string][]string{cobra.BashCompFilenameExt: {"creds"}}
	f.StringVar(&c.inboxPrefix, "inbox-prefix", "", "prefix of the subjects on which answers come in")
	f.DurationVar(&c.timeout, "timeout", 0, "how long to wait for a connection, and then for each answer ($NATS_TIMEOUT, else 2s)")
}

// args returns the flags that were given, for another process of this program.
func (c *connection) args() []string {
	var args []string
	for _, f := range []struct{ name, value string }{
		{"server", c.server},
		{"context", c.context},
		{"creds", c.creds},
		{"inbox-prefix", c.inboxPrefix},
	} {
		if f.value != "" {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	return append(args, "--timeout="+c.timeout.String())
}

// setting is a value and the name of what it came from, which is empty if
// nothing set it.
type setting struct{ value, from string }

// pick returns the value of a flag, or else of an environment variable.
func (c *connection) pick(flag, value, variable string) setting {
	if value != "" {
		return setting{value, flag}
	}
	if value = c.env(variable); value != "" {
		return setting{value, variable}
	}
	return setting{}
}

// dial connects to the NATS server that the settings name. It sets the
// timeout and where.
func (c *connection) dial() (*nats.Conn, error) {
	if err := c.setTimeout(); err != nil {
		return nil, err
	}
	server := c.pick("--server", c.server, "NATS_URL")
	context := c.pick("--context", c.context, "NATS_CONTEXT")
	if strings.HasSuffix(context.value, ".json") {
		// Natscontext takes a name for a file only if it is a whole path.
		if path, err := filepath.Abs(context.value); err == nil {
			context.value = path
		}
	}

	// What comes later in the options replaces what came earlier, so those of
	// the context, which natscontext puts first, are the weakest.
	opts := append(client.ConnectOptions(), nats.Name("ratelimit"), nats.NoReconnect(), nats.Timeout(c.timeout))
	if c.inboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.inboxPrefix))
	}
	who, err := c.identity()
	if err != nil {
		return nil, err
	}
	encryption, err := c.encryption()
	if err != nil {
		return nil, err
	}
	opts = append(opts, who, encryption, c.servers(server, context))

	var nc *nats.Conn
	if server.value != "" && context.value == "" {
		nc, err = nats.Connect("", opts...)
	} else {
		nc, _, err = natscontext.Connect(context.value, opts...)
	}
	if err != nil {
		return nil, c.cannotConnect(err, context)
	}
	return nc, nil
}

func (c *connection) setTimeout() error {
	text := c.env("NATS_TIMEOUT")
	switch {
	case c.changed("timeout") && c.timeout <= 0:
		return wrongUse("--timeout %s leaves no time to wait; write a duration such as 2s", c.timeout)
	case c.changed("timeout"):
	case text == "":
		c.timeout = defaultTimeout
	default:
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return wrongUse("NATS_TIMEOUT %q is not a duration such as 2s or 500ms", text)
		}
		c.timeout = d
	}
	return nil
}

// identity returns the option that says who asks, or nil if no setting does.
// It replaces the identity of a context as a whole: half of one and half of
// another would be nobody.
func (c *connection) identity() (nats.Option, error) {
	creds := c.pick("--creds", c.creds, "NATS_CREDS")
	user, password := c.env("NATS_USER"), c.env("NATS_PASSWORD")
	nkey := setting{c.env("NATS_NKEY"), "NATS_NKEY"}
	var as nats.Option
	switch {
	case creds.value != "":
		path, err := readable(creds)
		if err != nil {
			return nil, err
		}
		as = nats.UserCredentials(path)
	case user != "" && password != "":
		as = nats.UserInfo(user, password)
	case user != "":
		as = nats.Token(user)
	case nkey.value != "":
		path, err := readable(nkey)
		if err != nil {
			return nil, err
		}
		if as, err = nats.NkeyOptionFromSeed(path); err != nil {
			return nil, wrongUse("NATS_NKEY names %s, which holds no seed of a user's NKey", path)
		}
	case c.env("NATS_TOKEN") != "":
		as = nats.Token(c.env("NATS_TOKEN"))
	default:
		return nil, nil
	}
	return func(o *nats.Options) error {
		o.User, o.Password, o.Token, o.Nkey = "", "", "", ""
		o.UserJWT, o.SignatureCB = nil, nil
		return as(o)
	}, nil
}

// encryption returns the option that holds the certificates, or nil if no
// setting names any.
func (c *connection) encryption() (nats.Option, error) {
	var opts []nats.Option
	cert := setting{c.env("NATS_CERT"), "NATS_CERT"}
	key := setting{c.env("NATS_KEY"), "NATS_KEY"}
	if (cert.value == "") != (key.value == "") {
		return nil, wrongUse("NATS_CERT and NATS_KEY belong together; set both or none")
	}
	if cert.value != "" {
		certFile, err := readable(cert)
		if err != nil {
			return nil, err
		}
		keyFile, err := readable(key)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.ClientCert(certFile, keyFile))
	}
	if ca := (setting{c.env("NATS_CA"), "NATS_CA"}); ca.value != "" {
		file, err := readable(ca)
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.RootCAs(file))
	}
	return func(o *nats.Options) error {
		for _, opt := range opts {
			if err := opt(o); err != nil {
				return wrongUse("the certificates in NATS_CERT, NATS_KEY and NATS_CA cannot be used: %s", cause(err))
			}
		}
		return nil
	}, nil
}

// servers returns the option that settles which servers are tried, and notes
// them in where. As the last option it sees what a context brought.
func (c *connection) servers(server, context setting) nats.Option {
	return func(o *nats.Options) error {
		from := "set by " + server.from
		switch {
		case server.value != "":
			o.Url, o.Servers = "", strings.Split(server.value, ",")
		case len(o.Servers) == 0:
			from = "the default"
			o.Servers = []string{nats.DefaultURL}
		case context.value != "":
			from = fmt.Sprintf("from the NATS context %q, set by %s", context.value, context.from)
		default:
			from = "from the selected NATS context"
		}
		var shown []string
		for i, s := range o.Servers {
			s, err := redacted(strings.TrimSpace(s))
			if err != nil {
				return wrongUse("address %d of the NATS server, %s, is not one; write nats://HOST:PORT", i+1, from)
			}
			shown = append(shown, s)
		}
		c.where = strings.Join(shown, ", ") + ", " + from
		return nil
	}
}

// readable returns the path of a file that a setting names, if it can be read.
func readable(s setting) (string, error) {
	path := s.value
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", wrongUse("%s is %s, and there is no home directory; write the whole path", s.from, s.value)
		}
		path = filepath.Join(home, rest)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", wrongUse("%s names a file that cannot be read: %s", s.from, cause(err))
	}
	f.Close()
	return path, nil
}
