package main

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// fence finds the code blocks of a Markdown file: their language and text.
var fence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		switch m[1] {
		case "sh", "console", "go", "yaml":
		default:
			t.Errorf("README.md has a block of %q, which no test runs", m[1])
		}
		if m[1] == language {
			blocks = append(blocks, m[2])
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no block of %q", language)
	}
	return blocks
}

// TestReadmePolicies reads the policies that are shown.
func TestReadmePolicies(t *testing.T) {
	for i, block := range readmeBlocks(t, "yaml") {
		set, err := policy.Parse("README.md", []byte(block))
		if err != nil {
			t.Errorf("block %d: %v", i, err)
		} else if set.Len() == 0 {
			t.Errorf("block %d has no policies", i)
		}
	}
}

// toolsPath is a PATH with the programs of this project and those that
// `make tools` builds.
func toolsPath(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs("../../.bin")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Dir(binary(t, "ratelimit")) + ":" + bin + ":" + os.Getenv("PATH")
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, "nats")); err == nil {
			return path
		}
	}
	t.Fatal("the nats command line is not on the PATH nor in .bin; run: make tools")
	return ""
}

// TestReadmeTour runs the console blocks in order against one daemon, and
// compares what they print. In an expected line "..." stands for anything and
// digits for any digits; a line that is only "..." stands for any lines.
func TestReadmeTour(t *testing.T) {
	d := start(t, roleAll, "RATELIMIT_NATS_STORE_DIR="+t.TempDir(), "RATELIMIT_POLICIES_KV=ratelimit-policies")
	path := toolsPath(t)
	httpAddr := strings.TrimPrefix(d.httpURL, "http://")
	for _, block := range readmeBlocks(t, "console") {
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			cmd := exec.Command("bash", "-c", strings.ReplaceAll(command, "localhost:8080", httpAddr))
			cmd.Dir = "../.."
			cmd.Env = []string{"PATH=" + path, "HOME=" + t.TempDir(), "NATS_URL=" + d.nats.ClientURL()}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("$ %s\n%s%v", command, out, err)
				continue
			}
			got := strings.ReplaceAll(string(out), "\r", "")
			if !pattern(want).MatchString(strings.TrimSpace(got)) {
				t.Errorf("$ %s\nprints\n%s\nand not\n%s", command, got, want)
			}
		}
	}
}

var digits = regexp.MustCompile(`\d+`)

func pattern(want string) *regexp.Regexp {
	var re strings.Builder
	for i, part := range strings.Split(strings.TrimSpace(want), "...") {
		if i > 0 {
			re.WriteString(`(?s:.*)`)
		}
		re.WriteString(digits.ReplaceAllString(regexp.QuoteMeta(part), `\d+`))
	}
	return regexp.MustCompile(`\A` + re.String() + `\z`)
}

// TestReadmeGo builds and runs the programs that are shown, which say in a
// comment what they print.
func TestReadmeGo(t *testing.T) {
	d := start(t, roleAll)
	for _, program := range readmeBlocks(t, "go") {
		source := filepath.Join(t.TempDir(), "main.go")
		_, want, _ := strings.Cut(program, "// Output: ")
		want, _, _ = strings.Cut(want, "\n")
		program = strings.ReplaceAll(program, "nats.DefaultURL", `"`+d.nats.ClientURL()+`"`)
		if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		// The overlay puts the file into the module without writing there.
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "cmd", "readme", "main.go"): source}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "overlay.json")
		if err := os.WriteFile(file, overlay, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "run", "-overlay", file, module+"/cmd/readme").CombinedOutput()
		if got := string(out); err != nil || got != want+"\n" {
			t.Errorf("the program prints %q, %v; want %q", got, err, want)
		}
	}
}

// TestReadmeCommands runs what is shown in blocks of sh: each command has a
// test of its own here.
func TestReadmeCommands(t *testing.T) {
	tests := map[string]func(t *testing.T){
		"make run":  testMakeRun,
		"make test": func(*testing.T) {}, // it is what runs this test
		"docker compose up --build --wait --scale worker=3":                                 testComposeFile,
		"NATS_URL=nats://127.0.0.1:4222 REDIS_URL=redis://127.0.0.1:6379 ratelimitd worker": func(*testing.T) {}, // with the next one
		"NATS_URL=nats://127.0.0.1:4222 ratelimitd bridge":                                  testWorkerAndBridge,
	}
	for _, block := range readmeBlocks(t, "sh") {
		for command := range strings.Lines(block) {
			command = strings.TrimSpace(command)
			test, ok := tests[command]
			if !ok {
				t.Errorf("no test runs %q", command)
				continue
			}
			t.Run(command, test)
			delete(tests, command)
		}
	}
	for command := range tests {
		t.Errorf("%q is tested but not in README.md", command)
	}
}

// testMakeRun also holds the promise that the first answer comes within a
// second of the start, of the program that make has built.
func testMakeRun(t *testing.T) {
	if out, err := exec.Command("make", "-C", "../..", "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	environ := []string{
		"RATELIMIT_NATS_ADDR=127.0.0.1:0", "RATELIMIT_HTTP_ADDR=127.0.0.1:0", "RATELIMIT_ADMIN_ADDR=127.0.0.1:0",
		"GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOFLAGS=" + goEnv(t, "GOFLAGS"), "GOPROXY=" + goEnv(t, "GOPROXY"),
	}
	p := spawn(t, environ, "make", "-C", "../..", "run")
	p.waitFor(t, "Ctrl-C stops it.")
	for _, want := range []string{"NATS     nats://127.0.0.1:", "HTTP     http://127.0.0.1:", "admin    http://127.0.0.1:", "degraded: not shared with other processes, lost on restart", "nats req ratelimit.check.user_123 ''"} {
		if !strings.Contains(p.output.String(), want) {
			t.Errorf("it does not print %q:\n%s", want, p.output)
		}
	}
	// The first command that it suggests works as it stands.
	curl := regexp.MustCompile(`(?m)^  (curl .*)$`).FindStringSubmatch(p.output.String())
	if curl == nil {
		t.Fatalf("no curl command:\n%s", p.output)
	}
	if out, err := exec.Command("bash", "-c", curl[1]+" -s").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), `{"allowed":true,"key":"user_123","limit":5,"remaining":4,`) {
		t.Errorf("%s\n%s%v", curl[1], out, err)
	}
	p.signal(syscall.SIGINT) // Ctrl-C
	<-p.done                 // make has an exit code of its own for that
	if !strings.Contains(p.output.String(), "stopping") {
		t.Errorf("Ctrl-C did not reach the daemon:\n%s", p.output)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// testComposeFile checks what can be checked without a Docker engine: that
// the compose file names every part, and runs commands that there are.
func testComposeFile(t *testing.T) {
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  nats:\n", "\n  redis:\n", "\n  worker:\n", "\n  bridge:\n", `command: ["worker"]`, `command: ["bridge"]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docker-compose.yml has no %q", want)
		}
	}
	// The settings it makes are settings.
	vars := regexp.MustCompile(`(?m)^      (RATELIMIT_[A-Z_]+): (.*)$`).FindAllStringSubmatch(string(text), -1)
	environ := []string{"REDIS_URL=redis://redis:6379/0"}
	for _, v := range vars {
		v[2], _, _ = strings.Cut(v[2], " #")
		value := regexp.MustCompile(`\$\{[A-Z_]+:-(.*)\}`).ReplaceAllString(strings.Trim(v[2], `"`), "$1")
		environ = append(environ, v[1]+"="+value)
	}
	if _, warnings, err := loadConfig(environ, roleWorker); err != nil || len(warnings) > 0 || len(vars) == 0 {
		t.Errorf("the settings of docker-compose.yml, %q: %v, %q", environ, err, warnings)
	}
}

// testWorkerAndBridge runs the two commands as processes.
func testWorkerAndBridge(t *testing.T) {
	natsURL := startNATS(t)
	common := []string{"NATS_URL=" + natsURL, "RATELIMIT_ADMIN_ADDR=127.0.0.1:0", "RATELIMIT_LOG_FORMAT=json", patience}
	worker := spawn(t, append(common, "REDIS_URL="+redistest.Start(t).URL()), binary(t, "ratelimitd"), "worker")
	bridge := spawn(t, append(common, "RATELIMIT_HTTP_ADDR=127.0.0.1:0"), binary(t, "ratelimitd"), "bridge")
	worker.waitFor(t, `"ready"`)
	bridge.waitFor(t, `"ready"`)

	res, err := dial(t, natsURL).Check(t.Context(), "k", client.WithRate(5, time.Second))
	if err != nil || res.Source != "redis" || res.Degraded {
		t.Errorf("over NATS: %+v, %v", res, err)
	}
	var ready struct{ HTTP, Admin string }
	for line := range strings.Lines(bridge.output.String()) {
		if strings.Contains(line, `"ready"`) {
			if err := json.Unmarshal([]byte(line), &ready); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := exec.Command("curl", "-s", "-d", `{"key":"k","rate":5,"interval":"1s"}`, ready.HTTP+"/check").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"remaining":3,`) {
		t.Errorf("over HTTP: %s%v", out, err)
	}
	out, err = exec.Command("curl", "-s", ready.HTTP+"/health").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"status":"healthy"`) || !strings.Contains(string(out), `"redis":{"status":"healthy","latency":`) {
		t.Errorf("health of the bridge: %s%v", out, err)
	}
	u, err := url.Parse(ready.Admin)
	if err != nil {
		t.Fatal(err)
	}
	check := spawn(t, []string{"RATELIMIT_ADMIN_ADDR=" + u.Host}, binary(t, "ratelimitd"), "healthcheck")
	if <-check.done; check.err != nil {
		t.Errorf("healthcheck: %v\n%s", check.err, check.output)
	}
	worker.terminate(t)
	bridge.terminate(t)
}
