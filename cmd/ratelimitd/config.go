package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/worker"
)

// Config is every setting of the daemon. All of them come from the
// environment; the tags are the manual, from which `ratelimitd config`, the
// help and the README's table are made:
//
//	env, envDefault   the variable and its default
//	doc               what it does, in one sentence
//	secret            must not be shown; can also be read from the file that
//	                  the variable with _FILE behind its name names
type Config struct {
	NATSURL      string `env:"NATS_URL" doc:"NATS server to connect to, or several with commas between them. Without it the all-in-one daemon embeds a server." secret:"true"`
	NATSCreds    string `env:"NATS_CREDS" doc:"Credentials file for NATS."`
	NATSNKey     string `env:"NATS_NKEY" doc:"File with the seed of an NKey for NATS."`
	NATSUser     string `env:"NATS_USER" doc:"User for NATS."`
	NATSPassword string `env:"NATS_PASSWORD" doc:"Password for NATS." secret:"true"`
	NATSToken    string `env:"NATS_TOKEN" doc:"Token for NATS." secret:"true"`
	NATSCert     string `env:"NATS_CERT" doc:"Client certificate for NATS, with NATS_KEY."`
	NATSKey      string `env:"NATS_KEY" doc:"Key of the client certificate for NATS."`
	NATSCA       string `env:"NATS_CA" doc:"CA certificates that the NATS server's certificate is checked with."`
	NATSAddr     addr   `env:"RATELIMIT_NATS_ADDR" envDefault:"127.0.0.1:4222" doc:"Address of the embedded NATS server."`
	NATSStoreDir string `env:"RATELIMIT_NATS_STORE_DIR" doc:"Folder in which the embedded NATS server keeps its buckets (JetStream). Without it there are none."`

	RedisURL      string              `env:"REDIS_URL" doc:"Redis: redis://, rediss:// (TLS), redis+sentinel:// or redis+cluster://. Without it the all-in-one daemon keeps buckets in memory." secret:"true"`
	RedisAddr     string              `env:"REDIS_ADDR" doc:"Redis as host:port, instead of REDIS_URL."`
	RedisPassword string              `env:"REDIS_PASSWORD" doc:"Password for Redis, instead of the one in REDIS_URL." secret:"true"`
	RedisDB       int                 `env:"REDIS_DB" doc:"Database of Redis, instead of the one in REDIS_URL."`
	RedisPoolSize int                 `env:"REDIS_POOL_SIZE" envDefault:"32" doc:"Connections per Redis server."`
	RedisTimeout  time.Duration       `env:"RATELIMIT_REDIS_TIMEOUT" envDefault:"50ms" doc:"How long Redis may take before the answer comes from memory."`
	RedisStrategy redisstore.Strategy `env:"RATELIMIT_REDIS_STRATEGY" envDefault:"script" doc:"How checks are decided with Redis: script; transaction (WATCH, MULTI, EXEC; slower, for servers without scripts); hash (read and write, which over-admits: for demonstration)."`
	HashTagTokens int                 `env:"RATELIMIT_HASH_TAG_TOKENS" envDefault:"0" doc:"In Redis Cluster, how many tokens of a key, from the first, choose its slot, so that the keys of one tenant are taken together at one moment; 0 is the whole key. It must be the same in all workers; who changes it begins anew with every bucket of a longer key."`

	Policies     string `env:"RATELIMIT_POLICIES" doc:"File with the policies, in YAML. It is read again when it changes and on SIGHUP; a version with errors changes nothing."`
	PoliciesKV   string `env:"RATELIMIT_POLICIES_KV" doc:"NATS KV bucket with the policies, such as ratelimit-policies; ratelimit policies put FILE changes all workers at once."`
	DefaultLimit limit  `env:"RATELIMIT_DEFAULT_LIMIT" doc:"Limit of keys that no policy matches and that bring none along, such as 10/s burst 100. The all-in-one daemon has that one if it is not set."`
	InlineLimits inline `env:"RATELIMIT_INLINE_LIMITS" envDefault:"unmatched" doc:"Whether a request may bring its own limit: unmatched (it counts for keys that no policy matches, and says nothing for others), always (it counts before policies), never (it is refused)."`

	DenyCache  bool          `env:"RATELIMIT_DENY_CACHE" envDefault:"true" doc:"Whether a worker answers what Redis has just denied by itself, until the denial ends, for a second at most."`
	MemoryKeys int           `env:"RATELIMIT_MEMORY_KEYS" envDefault:"1000000" doc:"How many buckets a worker keeps in memory at most: 30 bytes and its key for each, so about 55 MB for a million."`
	Queue      int           `env:"RATELIMIT_QUEUE" envDefault:"4096" doc:"How many checks may wait in a worker before it answers overloaded."`
	Batch      int           `env:"RATELIMIT_BATCH" envDefault:"256" doc:"How many checks one call to Redis decides at most."`
	MaxAge     time.Duration `env:"RATELIMIT_MAX_AGE" envDefault:"2s" doc:"How old a request that names no deadline may get before it is dropped uncharged."`

	HTTPAddr     addr          `env:"RATELIMIT_HTTP_ADDR" envDefault:"127.0.0.1:8080" doc:"Address of the HTTP bridge. It asks nobody for a password."`
	HTTPAdmin    bool          `env:"RATELIMIT_HTTP_ADMIN" envDefault:"false" doc:"Whether the HTTP bridge may reset and refund."`
	HTTPTimeout  time.Duration `env:"RATELIMIT_HTTP_TIMEOUT" envDefault:"1s" doc:"How long the HTTP bridge waits for a worker."`
	HTTPInFlight int           `env:"RATELIMIT_HTTP_IN_FLIGHT" envDefault:"1024" doc:"How many HTTP requests may wait at one time before the bridge answers 503."`
	AdminAddr    addr          `env:"RATELIMIT_ADMIN_ADDR" envDefault:"127.0.0.1:9464" doc:"Address of /metrics, /health, /healthz and /readyz."`

	Instance     string        `env:"RATELIMIT_INSTANCE" doc:"Name of this process in logs and health. The default is host name and process id."`
	LogLevel     logLevel      `env:"RATELIMIT_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error."`
	LogFormat    logFormat     `env:"RATELIMIT_LOG_FORMAT" envDefault:"auto" doc:"text, json, or auto: text on a terminal and json otherwise."`
	DrainTimeout time.Duration `env:"RATELIMIT_DRAIN_TIMEOUT" envDefault:"20s" doc:"How long a daemon that was told to stop may take to answer what it has accepted."`
}

// loadConfig reads the settings of a role from environ ("NAME=value"). The
// warnings are about variables that look like settings and are none. The error
// joins everything that is wrong, each a sentence that names the variable.
func loadConfig(environ []string, r role) (cfg Config, warnings []string, err error) {
	vars := env.ToMap(environ)
	var errs []error
	for _, s := range settings() {
		if err := s.readFile(vars); err != nil {
			errs = append(errs, err)
		}
	}
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: vars}); err != nil {
		errs = append(errs, readable(err, vars)...)
	}
	// A field that could not be read has been reported; what is said about
	// its zero value would only confuse.
	if len(errs) == 0 {
		errs = cfg.validate(r)
	}
	if cfg.Instance == "" {
		host, _ := os.Hostname()
		cfg.Instance = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if cfg.DefaultLimit.rule == nil && r == roleAll {
		_ = cfg.DefaultLimit.UnmarshalText([]byte("10/s burst 100"))
	}
	return cfg, unknownVariables(vars), errors.Join(errs...)
}

// validate checks what one field alone does not show.
func (c *Config) validate(r role) []error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
	}
	positive := func(name string, n, most int64, unit string) {
		if n < 1 || n > most {
			bad(name, "is %d and must be between 1 and %d%s", n, most, unit)
		}
	}
	between := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			bad(name, "is %s and must be between %s and %s", d, least, most)
		}
	}
	positive("REDIS_POOL_SIZE", int64(c.RedisPoolSize), 10_000, "")
	if c.HashTagTokens < 0 || c.HashTagTokens > redisstore.MaxHashTagTokens {
		bad("RATELIMIT_HASH_TAG_TOKENS", "is %d and must be between 0 and %d, which is how many tokens a key can have; 0 is the whole key", c.HashTagTokens, redisstore.MaxHashTagTokens)
	}
	positive("RATELIMIT_MEMORY_KEYS", int64(c.MemoryKeys), 1_000_000_000, "")
	positive("RATELIMIT_QUEUE", int64(c.Queue), 1_000_000, "")
	positive("RATELIMIT_BATCH", int64(c.Batch), 1024, "")
	positive("RATELIMIT_HTTP_IN_FLIGHT", int64(c.HTTPInFlight), 1_000_000, "")
	between("RATELIMIT_REDIS_TIMEOUT", c.RedisTimeout, time.Millisecond, 10*time.Second)
	between("RATELIMIT_MAX_AGE", c.MaxAge, time.Millisecond, time.Minute)
	between("RATELIMIT_HTTP_TIMEOUT", c.HTTPTimeout, time.Millisecond, 4*time.Second)
	between("RATELIMIT_DRAIN_TIMEOUT", c.DrainTimeout, 100*time.Millisecond, 10*time.Minute)

	switch {
	case c.RedisURL != "" && c.RedisAddr != "":
		bad("REDIS_ADDR", "is set beside REDIS_URL; set one of them")
	case c.hasRedis():
		rdb, err := redisstore.Open(c.redis())
		if err != nil {
			bad("REDIS_URL, REDIS_ADDR or REDIS_DB:", "%v", err)
		} else {
			_ = rdb.Close()
		}
	case c.RedisPassword != "" || c.RedisDB != 0:
		bad("REDIS_PASSWORD and REDIS_DB", "say nothing without REDIS_URL or REDIS_ADDR; set one of these")
	case r == roleWorker:
		bad("REDIS_URL", "is not set, and workers share their buckets through Redis; set it, for instance to redis://127.0.0.1:6379, or run ratelimitd without arguments to keep buckets in memory")
	}
	if (c.NATSCert == "") != (c.NATSKey == "") {
		bad("NATS_CERT and NATS_KEY", "go together; set both or neither")
	}
	for name, path := range map[string]string{"NATS_CREDS": c.NATSCreds, "NATS_NKEY": c.NATSNKey, "NATS_CERT": c.NATSCert, "NATS_KEY": c.NATSKey, "NATS_CA": c.NATSCA} {
		if path == "" {
			continue
		}
		if f, err := os.Open(path); err != nil {
			bad(name, "names a file that cannot be read: %v", err)
		} else {
			f.Close()
		}
	}
	c.validatePolicies(r, bad)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

func (c *Config) hasRedis() bool { return c.RedisURL != "" || c.RedisAddr != "" }

// probeTimeout is how long a probe of Redis may take, which may have to connect.
const probeTimeout = 500 * time.Millisecond

func (c *Config) redis() redisstore.Config {
	return redisstore.Config{URL: c.RedisURL, Addr: c.RedisAddr, Password: c.RedisPassword, DB: c.RedisDB, PoolSize: c.RedisPoolSize, Timeout: max(c.RedisTimeout, probeTimeout)}
}

// readable turns the errors of the env package, which name Go fields, into
// sentences that name variables.
func readable(err error, vars map[string]string) []error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{err}
	}
	var errs []error
	for _, err := range all.Errors {
		var parse env.ParseError
		if errors.As(err, &parse) {
			if s, ok := settingOf(parse.Name); ok {
				err = s.explain(vars[s.name], parse)
			}
		}
		errs = append(errs, err)
	}
	return errs
}

// explain says what is wrong with a value and what is allowed.
func (s *setting) explain(value string, parse env.ParseError) error {
	if s.secret {
		value = "(hidden)"
	}
	want := parse.Err.Error() // of our own types, which say it themselves
	switch parse.Type {
	case reflect.TypeFor[time.Duration]():
		want = "must be a duration such as 50ms or 2s"
	case reflect.TypeFor[int]():
		want = "must be a whole number"
	case reflect.TypeFor[bool]():
		want = "must be true or false"
	}
	return fmt.Errorf("%s is %q: %s", s.name, value, want)
}

// unknownVariables reports RATELIMIT_ variables that are no settings.
func unknownVariables(vars map[string]string) []string {
	known := make(map[string]bool)
	var names []string
	for _, s := range settings() {
		known[s.name] = true
		names = append(names, s.name)
		if s.secret {
			known[s.name+"_FILE"] = true
		}
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.HasPrefix(name, "RATELIMIT_") && !known[name] {
			w := fmt.Sprintf("%s is not a setting and does nothing", name)
			if near := nearest(name, names); near != "" {
				w += "; did you mean " + near + "?"
			}
			warnings = append(warnings, w)
		}
	}
	return warnings
}

// addr is a host:port to listen on.
type addr string

func (a *addr) UnmarshalText(text []byte) error {
	if _, port, err := net.SplitHostPort(string(text)); err != nil || port == "" {
		return errors.New("must be an address to listen on, such as 127.0.0.1:8080, or :8080 for all interfaces")
	}
	*a = addr(text)
	return nil
}

// loopback reports whether only this machine can connect.
func (a addr) loopback() bool {
	host, _, _ := net.SplitHostPort(string(a))
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// limit is a limit in the words of limiter.ParseLimit.
type limit struct{ rule *limiter.Rule }

func (l *limit) UnmarshalText(text []byte) error {
	parsed, err := limiter.ParseLimit(string(text))
	if err != nil {
		return err
	}
	l.rule, err = parsed.Compile()
	return err
}

// inline says when a request's own limit counts.
type inline string

var inlineLimits = map[inline]worker.Inline{
	"unmatched": worker.InlineUnmatched,
	"always":    worker.InlineAlways,
	"never":     worker.InlineNever,
}

func (i *inline) UnmarshalText(text []byte) error {
	if _, ok := inlineLimits[inline(text)]; ok {
		*i = inline(text)
		return nil
	}
	return errors.New("must be unmatched, always or never")
}
