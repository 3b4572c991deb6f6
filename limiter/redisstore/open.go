package redisstore

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where Redis is.
type Config struct {
	// URL is one of
	//
	//	redis://[user:password@]host[:6379][/db]
	//	redis+sentinel://[user:password@]host[:26379],host,.../master[/db]
	//	redis+cluster://[user:password@]host[:6379],host,...
	//	unix:///path/to/socket[?db=N]
	//
	// with rediss in place of redis for TLS. User and password are those of
	// Redis; a Sentinel that wants its own takes them as the parameters
	// sentinel_username and sentinel_password.
	URL string

	// Addr, if URL is empty, is the host:port of a single server.
	Addr string

	// Password and DB, unless they are zero, stand in for those of the URL.
	Password string
	DB       int

	// PoolSize is the number of connections per server. 0 means 32.
	PoolSize int

	// Timeout bounds a command that has no deadline of its own. 0 means
	// 100 ms.
	Timeout time.Duration
}

// Open makes a client with the settings that a rate limiter needs: it never
// sends a command again by itself, it honours deadlines, and it fails at once
// rather than late. It does not wait for a connection, so a Redis that is not
// there yet is not an error.
//
// The error says what is wrong with the config, without any password.
func Open(c Config) (redis.UniversalClient, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	return redis.NewUniversalClient(o), nil
}

// Where says where the config points to, fit for logs: it has no password.
func (c Config) Where() string {
	if _, err := c.options(); err != nil {
		return "an invalid address"
	}
	if c.URL == "" {
		return "redis://" + c.Addr
	}
	u, hosts, err := splitURL(c.URL)
	if err != nil {
		return "an invalid address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: hosts, Path: u.Path}).String()
}

func (c Config) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		// No blind retry: a script whose reply was lost has charged.
		MaxRetries:    -1,
		DialerRetries: 1,
		// A caller's deadline bounds the command; these bound what has none.
		ContextTimeoutEnabled: true,
		DialTimeout:           250 * time.Millisecond,
		ReadTimeout:           100 * time.Millisecond,
		WriteTimeout:          100 * time.Millisecond,
		// A pool that runs dry is an overload: say so soon.
		PoolSize:              32,
		PoolTimeout:           20 * time.Millisecond,
		MinIdleConns:          2,
		MaxConcurrentDials:    4,
		ConnMaxLifetime:       30 * time.Minute,
		ConnMaxLifetimeJitter: 5 * time.Minute,
		// Commands that old servers and narrow ACLs refuse.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.URL != "" {
		if err := parseURL(o, c.URL); err != nil {
			return nil, fmt.Errorf("%w; it should look like redis://host:6379, rediss://user:password@host:6379/0, redis+sentinel://host:26379,host2:26379/master or redis+cluster://host:6379,host2:6379", err)
		}
	} else {
		if _, _, err := net.SplitHostPort(c.Addr); err != nil || strings.ContainsAny(c.Addr, "@/") {
			// It is not quoted: it may be a URL with a password.
			return nil, fmt.Errorf("the redis address is not host:port, such as localhost:6379")
		}
		o.Addrs = []string{c.Addr}
	}
	if c.Password != "" {
		o.Password = c.Password
	}
	if c.DB != 0 {
		if c.DB < 0 {
			return nil, fmt.Errorf("redis database %d must not be negative", c.DB)
		}
		o.DB = c.DB
	}
	if o.IsClusterMode && o.DB != 0 {
		return nil, fmt.Errorf("redis database %d cannot be chosen in Redis Cluster, which has only one", o.DB)
	}
	if c.PoolSize > 0 {
		o.PoolSize = c.PoolSize
	}
	if c.Timeout > 0 {
		o.ReadTimeout, o.WriteTimeout = c.Timeout, c.Timeout
	}
	o.MinIdleConns = min(o.MinIdleConns, o.PoolSize)
	return o, nil
}

// splitURL parses a URL and takes the list of hosts out of it, which package
// url does not know. Its errors never quote the URL, which may hold a password.
func splitURL(text string) (u *url.URL, hosts string, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, "", fmt.Errorf("the redis URL has no scheme")
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	start := strings.LastIndexByte(rest[:end], '@') + 1
	if u, err = url.Parse(scheme + "://" + rest[:start] + "host" + rest[end:]); err != nil {
		return nil, "", fmt.Errorf("the redis URL cannot be parsed")
	}
	if u.Fragment != "" || u.Scheme != "unix" && strings.ContainsAny(u.Path, "@:") || strings.Contains(u.RawQuery, "@") {
		return nil, "", fmt.Errorf("the redis URL is cut in the wrong place: what is special in a URL, such as / ? # @ or %%, must be percent-encoded in a password")
	}
	return u, rest[start:end], nil
}

// parseURL sets what a URL says. Its errors quote nothing that could be a part
// of a password.
func parseURL(o *redis.UniversalOptions, text string) error {
	u, list, err := splitURL(text)
	if err != nil {
		return err
	}
	kind, port := "", "6379"
	switch u.Scheme {
	case "unix":
		if u.Path == "" || list != "" {
			return fmt.Errorf("the redis URL has no absolute path to a socket; it has three slashes, as in unix:///run/redis.sock")
		}
		o.Addrs = []string{u.Path}
	case "redis", "rediss":
	case "redis+sentinel", "rediss+sentinel":
		kind, port = "sentinel", "26379"
	case "redis+cluster", "rediss+cluster":
		kind = "cluster"
	default:
		return fmt.Errorf("the redis URL has the unknown scheme %q", u.Scheme)
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if strings.HasPrefix(u.Scheme, "rediss") {
		// The name to verify is that of the server dialed.
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}

	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if u.Scheme == "unix" {
		path = []string{""}
	} else if o.Addrs, err = hosts(list, port); err != nil {
		return err
	}
	switch kind {
	case "cluster":
		o.IsClusterMode = true
		if path[0] != "" {
			return fmt.Errorf("the redis URL names database %q, but Redis Cluster has only one", path[0])
		}
	case "sentinel":
		if path[0] == "" {
			return fmt.Errorf("the redis URL does not name the master: put it after the hosts, as in redis+sentinel://host:26379/master")
		}
		o.MasterName, path = path[0], path[1:]
	default:
		if len(o.Addrs) > 1 {
			return fmt.Errorf("the redis URL has %d hosts; say redis+cluster or redis+sentinel, or name one host", len(o.Addrs))
		}
	}
	switch {
	case len(path) > 1:
		return fmt.Errorf("the redis URL has too many parts in its path %q", u.Path)
	case len(path) == 1 && path[0] != "":
		if o.DB, err = strconv.Atoi(path[0]); err != nil || o.DB < 0 {
			return fmt.Errorf("the redis URL has the database %q, which is not a number", path[0])
		}
	}
	return parseQuery(o, u.Query(), kind)
}

// hosts splits a list of hosts and gives each that has none the port.
func hosts(list, port string) ([]string, error) {
	var addrs []string
	for _, h := range strings.Split(list, ",") {
		u, err := url.Parse("redis://" + h)
		switch {
		case err != nil, strings.Count(h, ":") > 1 && !strings.HasPrefix(h, "["):
			return nil, fmt.Errorf("the hosts of the redis URL cannot be parsed; an IPv6 address stands in brackets")
		case u.Hostname() == "":
			return nil, fmt.Errorf("the redis URL has an empty host")
		case u.Port() != "":
			addrs = append(addrs, u.Host)
		default:
			addrs = append(addrs, net.JoinHostPort(u.Hostname(), port))
		}
	}
	return addrs, nil
}

func parseQuery(o *redis.UniversalOptions, q url.Values, kind string) error {
	for name := range q {
		value := q.Get(name)
		switch name {
		case "db":
			var err error
			if o.DB, err = strconv.Atoi(value); err != nil || o.DB < 0 {
				return fmt.Errorf("the redis URL has the database %q, which is not a number", value)
			}
		case "sentinel_username", "sentinel_password":
			if kind != "sentinel" {
				return fmt.Errorf("the redis URL has the parameter %s, but is not redis+sentinel", name)
			}
			if name == "sentinel_username" {
				o.SentinelUsername = value
			} else {
				o.SentinelPassword = value
			}
		default:
			return fmt.Errorf("the redis URL has the unknown parameter %q", name)
		}
	}
	return nil
}
