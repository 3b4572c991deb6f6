package redisstore

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOpenURL(t *testing.T) {
	for _, tt := range []struct {
		url        string
		addrs      string
		user, pass string
		db         int
		master     string
		cluster    bool
		tls        bool
	}{
		{url: "redis://localhost", addrs: "localhost:6379"},
		{url: "redis://localhost:", addrs: "localhost:6379"},
		{url: "redis://localhost:7000/3", addrs: "localhost:7000", db: 3},
		{url: "redis://localhost/?db=3", addrs: "localhost:6379", db: 3},
		{url: "redis://10.0.0.1:7000/", addrs: "10.0.0.1:7000"},
		{url: "redis://[::1]:7000", addrs: "[::1]:7000"},
		{url: "redis://[::1]", addrs: "[::1]:6379"},
		{url: "redis://:secret@h", addrs: "h:6379", pass: "secret"},
		{url: "redis://me:se%2Fcr%40et@h:1/2", addrs: "h:1", user: "me", pass: "se/cr@et", db: 2},
		{url: "redis://me@h", addrs: "h:6379", user: "me"},
		{url: "rediss://me:pw@h:1", addrs: "h:1", user: "me", pass: "pw", tls: true},
		{url: "redis+cluster://h1:1,h2:2,h3", addrs: "h1:1 h2:2 h3:6379", cluster: true},
		{url: "rediss+cluster://u:p@h1,h2/", addrs: "h1:6379 h2:6379", user: "u", pass: "p", cluster: true, tls: true},
		{url: "redis+sentinel://h1:1,h2/mymaster", addrs: "h1:1 h2:26379", master: "mymaster"},
		{url: "rediss+sentinel://u:p@h1/mymaster/4?sentinel_username=su&sentinel_password=s%40p", addrs: "h1:26379", user: "u", pass: "p", master: "mymaster", db: 4, tls: true},
		{url: "unix:///run/redis.sock", addrs: "/run/redis.sock"},
		{url: "unix:///run/redis.sock?db=2", addrs: "/run/redis.sock", db: 2},
	} {
		o, err := Config{URL: tt.url}.options()
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if got := strings.Join(o.Addrs, " "); got != tt.addrs || o.Username != tt.user || o.Password != tt.pass || o.DB != tt.db ||
			o.MasterName != tt.master || o.IsClusterMode != tt.cluster || (o.TLSConfig != nil) != tt.tls {
			t.Errorf("%s: %s %q %q db %d master %q cluster %t tls %t", tt.url, got, o.Username, o.Password, o.DB, o.MasterName, o.IsClusterMode, o.TLSConfig != nil)
		}
		if tt.tls && (o.TLSConfig.InsecureSkipVerify || o.TLSConfig.MinVersion < tls.VersionTLS12) {
			t.Errorf("%s: the certificate is not verified, or TLS is too old", tt.url)
		}
		if strings.Contains(tt.url, "sentinel_password") && (o.SentinelUsername != "su" || o.SentinelPassword != "s@p") {
			t.Errorf("%s: sentinel %q %q", tt.url, o.SentinelUsername, o.SentinelPassword)
		}
	}
}

// secret is in every bad URL below where a password stands, or where one ends
// up that was not percent-encoded. No error may say it.
const secret = "hunter2"

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ name, url, says string }{
		{"empty", "", "host:port"},
		{"no scheme", "me:hunter2@localhost:6379", ""},
		{"another scheme", "http://:hunter2@localhost", `unknown scheme "http"`},
		{"no host", "redis://", "empty host"},
		{"no host, password", "redis://:hunter2@", "empty host"},
		{"empty host", "redis+cluster://:hunter2@a,,b", "empty host"},
		{"bad port", "redis://:hunter2@localhost:port", "hosts"},
		{"several hosts", "redis://:hunter2@a,b", "2 hosts"},
		{"database not a number", "redis://:hunter2@h/main", "database"},
		{"negative database", "redis://:hunter2@h/-1", "database"},
		{"database of a cluster", "redis+cluster://:hunter2@h/1", "only one"},
		{"database of a cluster as parameter", "redis+cluster://:hunter2@h?db=1", "only one"},
		{"no master", "redis+sentinel://:hunter2@h", "master"},
		{"too long a path", "redis://:hunter2@h/1/2", "too many parts"},
		{"too long a path to a master", "redis+sentinel://:hunter2@h/m/1/2", "too many parts"},
		{"unknown parameter", "redis://:hunter2@h?retries=3", `unknown parameter "retries"`},
		{"bad db parameter", "redis://:hunter2@h?db=x", "database"},
		{"sentinel's password elsewhere", "redis://h?sentinel_password=hunter2", "sentinel"},
		{"no socket", "unix://", "socket"},
		{"relative socket", "unix://run/redis.sock", "three slashes"},
		{"IPv6 without brackets", "redis://:hunter2@::1", "brackets"},
		{"three ports", "redis://:hunter2@h:1:2:3", "hosts"},
		{"bad percent", "redis://:hunter2%zz@h", "cannot be parsed"},
		{"control character", "redis://:hunter2\n@h", "cannot be parsed"},
		{"fragment", "redis://h#hunter2", "percent-encoded"},
		{"# in a password", "redis://:12#hunter2@h:6379/0", "percent-encoded"},
		{"? in a password", "redis://:12?hunter2@h:6379/0", "percent-encoded"},
		{"/ in a password", "redis://:12/hunter2@h:6379/0", "percent-encoded"},
		{"/ in a password, sentinel", "redis+sentinel://:12/hunter2@h:6379", "percent-encoded"},
		{"/ in a password, cluster", "redis+cluster://:12/hunter2@h:6379", "percent-encoded"},
		{"/ at the start of a password", "redis://:/hunter2@h:6379/0", ""},
		{"/ in the middle of a password", "redis://:x/hunter2@h:6379/0", ""},
	} {
		_, err := Config{URL: tt.url}.options()
		if err == nil {
			t.Errorf("%s: %s was accepted", tt.name, tt.url)
			continue
		}
		if text := err.Error(); !strings.Contains(text, tt.says) || strings.Contains(text, secret) {
			t.Errorf("%s: error %q, want one that says %q and no password", tt.name, text, tt.says)
		}
		if where := (Config{URL: tt.url}).Where(); strings.Contains(where, secret) {
			t.Errorf("%s: Where says %q", tt.name, where)
		}
	}
}

func TestOpenAddr(t *testing.T) {
	o, err := Config{Addr: "h:7000", Password: "pw", DB: 2, PoolSize: 1}.options()
	if err != nil || !slices.Equal(o.Addrs, []string{"h:7000"}) || o.Password != "pw" || o.DB != 2 || o.PoolSize != 1 || o.MinIdleConns != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
	o, err = Config{URL: "redis://:old@h/1", Addr: "ignored", Password: "new", DB: 2}.options()
	if err != nil || !slices.Equal(o.Addrs, []string{"h:6379"}) || o.Password != "new" || o.DB != 2 {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, c := range []Config{
		{Addr: "h"}, {Addr: "h:1:2"}, {Addr: "redis://:hunter2@h:6379"}, {Addr: "hunter2@h"}, {Addr: "me:hunter2@h:6379"},
		{Addr: "h:1", DB: -1}, {URL: "redis+cluster://h", DB: 1},
	} {
		if _, err := c.options(); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: error %v, want one without a password", c, err)
		}
	}
}

func TestWhere(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{URL: "redis://me:hunter2@h:1/2?db=3"}, "redis://h:1/2"},
		{Config{URL: "rediss+sentinel://me:hunter2@a:1,b:2/m/1?sentinel_password=hunter2"}, "rediss+sentinel://a:1,b:2/m/1"},
		{Config{URL: "unix:///run/redis.sock"}, "unix:///run/redis.sock"},
		{Config{Addr: "h:6379", Password: "hunter2"}, "redis://h:6379"},
		{Config{URL: "redis://:hunter2%zz@h"}, "an invalid address"},
	} {
		if got := tt.config.Where(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.config, got, tt.want)
		}
	}
}

// TestSettings pins what a rate limiter needs of its client: nothing is sent
// twice, deadlines hold, and nothing waits for long.
func TestSettings(t *testing.T) {
	for _, url := range []string{"redis://h", "redis+cluster://h", "redis+sentinel://h/m"} {
		o, err := Config{URL: url}.options()
		if err != nil {
			t.Fatal(err)
		}
		if o.MaxRetries != -1 || o.DialerRetries != 1 || !o.ContextTimeoutEnabled {
			t.Errorf("%s: retries %d, dialer retries %d, deadlines honored: %t", url, o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled)
		}
		for name, d := range map[string]time.Duration{"dial": o.DialTimeout, "read": o.ReadTimeout, "write": o.WriteTimeout, "pool": o.PoolTimeout} {
			if d <= 0 || d > 250*time.Millisecond {
				t.Errorf("%s: %s timeout %s", url, name, d)
			}
		}
		if o.PoolSize != 32 {
			t.Errorf("%s: pool of %d, want 32", url, o.PoolSize)
		}
	}
}
