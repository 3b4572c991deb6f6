package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigDefaults(t *testing.T) {
	cfg, warnings, err := loadConfig(nil, roleAll)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("got %v, %q", err, warnings)
	}
	if got := cfg.DefaultLimit.rule.Limit().String(); got != "10/s burst 100" {
		t.Errorf("default limit of the all-in-one daemon is %q", got)
	}
	if cfg.RedisTimeout != 50*time.Millisecond || cfg.HTTPAddr != "127.0.0.1:8080" || cfg.HTTPAdmin || cfg.hasRedis() || cfg.Instance == "" {
		t.Errorf("got %+v", cfg)
	}
	cfg, _, err = loadConfig([]string{"REDIS_URL=redis://r"}, roleWorker)
	if err != nil || cfg.DefaultLimit.rule != nil {
		t.Errorf("a worker: %v, default limit %v; want none", err, cfg.DefaultLimit.rule)
	}
}

// TestConfigErrors: everything that is wrong is said at once, a line each,
// naming the variable, its value and what is allowed.
func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		role    role
		environ []string
		want    []string
	}{
		{"several at once", roleAll, []string{"RATELIMIT_REDIS_TIMEOUT=fast", "RATELIMIT_QUEUE=many", "RATELIMIT_HTTP_ADMIN=perhaps", "RATELIMIT_HTTP_ADDR=8080"}, []string{
			`RATELIMIT_REDIS_TIMEOUT is "fast": must be a duration such as 50ms or 2s`,
			`RATELIMIT_QUEUE is "many": must be a whole number`,
			`RATELIMIT_HTTP_ADDR is "8080": must be an address to listen on, such as 127.0.0.1:8080, or :8080 for all interfaces`,
			`RATELIMIT_HTTP_ADMIN is "perhaps": must be true or false`,
		}},
		{"out of range", roleAll, []string{"RATELIMIT_QUEUE=0", "RATELIMIT_BATCH=5000", "RATELIMIT_MEMORY_KEYS=-1", "RATELIMIT_REDIS_TIMEOUT=1us", "RATELIMIT_DRAIN_TIMEOUT=1h", "REDIS_POOL_SIZE=0", "RATELIMIT_HTTP_TIMEOUT=10s"}, []string{
			"RATELIMIT_BATCH is 5000 and must be between 1 and 1024",
			"RATELIMIT_DRAIN_TIMEOUT is 1h0m0s and must be between 100ms and 10m0s",
			"RATELIMIT_HTTP_TIMEOUT is 10s and must be between 1ms and 4s",
			"RATELIMIT_MEMORY_KEYS is -1 and must be between 1 and 1000000000",
			"RATELIMIT_QUEUE is 0 and must be between 1 and 1000000",
			"RATELIMIT_REDIS_TIMEOUT is 1µs and must be between 1ms and 10s",
			"REDIS_POOL_SIZE is 0 and must be between 1 and 10000",
		}},
		{"words", roleAll, []string{"RATELIMIT_LOG_LEVEL=loud", "RATELIMIT_LOG_FORMAT=xml", "RATELIMIT_REDIS_STRATEGY=lua", "RATELIMIT_INLINE_LIMITS=sometimes", "RATELIMIT_DEFAULT_LIMIT=10"}, []string{
			`RATELIMIT_DEFAULT_LIMIT is "10": invalid limit: "10": there is no slash between rate and interval; write a limit as 10/s or 10/s burst 100`,
			`RATELIMIT_INLINE_LIMITS is "sometimes": must be unmatched, always or never`,
			`RATELIMIT_LOG_LEVEL is "loud": must be debug, info, warn or error`,
			`RATELIMIT_LOG_FORMAT is "xml": must be text, json or auto`,
			`RATELIMIT_REDIS_STRATEGY is "lua": must be script, transaction or hash`,
		}},
		{"a limit that is too much", roleAll, []string{"RATELIMIT_DEFAULT_LIMIT=7/366d burst 9007199254740991"}, []string{
			`RATELIMIT_DEFAULT_LIMIT is "7/366d burst 9007199254740991": limit not representable`,
		}},
		{"more tokens than a key has", roleAll, []string{"RATELIMIT_HASH_TAG_TOKENS=17"}, []string{
			"RATELIMIT_HASH_TAG_TOKENS is 17 and must be between 0 and 16, which is how many tokens a key can have; 0 is the whole key",
		}},
		{"fewer tokens than none", roleAll, []string{"RATELIMIT_HASH_TAG_TOKENS=-1"}, []string{
			"RATELIMIT_HASH_TAG_TOKENS is -1 and must be between 0 and 16, which is how many tokens a key can have; 0 is the whole key",
		}},
		{"tokens that are no number", roleAll, []string{"RATELIMIT_HASH_TAG_TOKENS=two"}, []string{
			`RATELIMIT_HASH_TAG_TOKENS is "two": must be a whole number`,
		}},
		{"a worker without Redis", roleWorker, nil, []string{
			"REDIS_URL is not set, and workers share their buckets through Redis; set it, for instance to redis://127.0.0.1:6379, or run ratelimitd without arguments to keep buckets in memory",
		}},
		{"two Redis", roleAll, []string{"REDIS_URL=redis://a", "REDIS_ADDR=b:6379"}, []string{
			"REDIS_ADDR is set beside REDIS_URL; set one of them",
		}},
		{"policies twice", roleAll, []string{"RATELIMIT_POLICIES=a.yaml", "RATELIMIT_POLICIES_KV=b", "RATELIMIT_NATS_STORE_DIR=c"}, []string{
			"RATELIMIT_POLICIES_KV is set beside RATELIMIT_POLICIES; policies come from a bucket or from a file, so set one of them",
		}},
		{"a bad Redis URL", roleAll, []string{"REDIS_URL=http://u:hunter2@a"}, []string{
			`REDIS_URL, REDIS_ADDR or REDIS_DB: the redis URL has the unknown scheme "http"`,
		}},
		{"a password for nothing", roleAll, []string{"REDIS_PASSWORD=hunter2"}, []string{
			"REDIS_PASSWORD and REDIS_DB say nothing without REDIS_URL or REDIS_ADDR; set one of these",
		}},
		{"files", roleAll, []string{"NATS_CREDS=/nowhere/a.creds", "NATS_CERT=/nowhere/cert"}, []string{
			"NATS_CERT and NATS_KEY go together; set both or neither",
			"NATS_CERT names a file that cannot be read: open /nowhere/cert: no such file or directory",
			"NATS_CREDS names a file that cannot be read: open /nowhere/a.creds: no such file or directory",
		}},
		{"a secret file that is not there", roleAll, []string{"REDIS_URL_FILE=/nowhere/url"}, []string{
			"REDIS_URL_FILE names a file that cannot be read: open /nowhere/url: no such file or directory",
		}},
		{"a secret twice", roleAll, []string{"NATS_TOKEN=hunter2", "NATS_TOKEN_FILE=/nowhere/token"}, []string{
			"NATS_TOKEN and NATS_TOKEN_FILE are both set; set one of them",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := loadConfig(tt.environ, tt.role)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Errorf("%d errors, want %d:\n%v", len(got), len(tt.want), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say\n\t%s\nbut\n\t%s", want, strings.Join(got, "\n\t"))
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

func TestConfigUnknownVariables(t *testing.T) {
	_, warnings, err := loadConfig([]string{"RATELIMIT_HTTP_ADR=127.0.0.1:1", "RATELIMIT_XYZZY=1", "RATELIMIT_QUEUE=5", "HOME=/root"}, roleAll)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"RATELIMIT_HTTP_ADR is not a setting and does nothing; did you mean RATELIMIT_HTTP_ADDR?",
		"RATELIMIT_XYZZY is not a setting and does nothing",
	}
	if strings.Join(warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", warnings, want)
	}
}

// TestConfigShowsNoSecrets plants secrets in every setting that may hold one.
func TestConfigShowsNoSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("hunter2-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{
		"NATS_URL=nats://joe:hunter2@a:4222,nats://hunter2@b:4222",
		"NATS_PASSWORD=hunter2",
		"NATS_TOKEN_FILE=" + file,
		"REDIS_URL=redis+sentinel://joe:hunter2@s:26379/main?sentinel_password=hunter2",
		"REDIS_PASSWORD=hunter2",
	}
	cfg, _, err := loadConfig(environ, roleAll)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.NATSToken != "hunter2-file" {
		t.Errorf("NATS_TOKEN from its file is %q", cfg.NATSToken)
	}
	var out bytes.Buffer
	if err := printConfig(&out, environ, cfg); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("a secret is shown:\n%s", &out)
	}
	for _, want := range []string{
		"NATS_URL nats://(hidden)@a:4222,nats://(hidden)@b:4222 environment",
		"REDIS_URL redis+sentinel://(hidden)@s:26379/main?(hidden) environment",
		"NATS_TOKEN (hidden) file " + file,
		"RATELIMIT_DEFAULT_LIMIT 10/s burst 100 default",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}

// TestReadmeSettings holds the README's table to the code.
func TestReadmeSettings(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	settingsTable(&table)
	if !strings.Contains(string(readme), table.String()) {
		t.Errorf("the table of settings in README.md is not that of the code; put this there (ratelimitd config --markdown):\n%s", &table)
	}
}
