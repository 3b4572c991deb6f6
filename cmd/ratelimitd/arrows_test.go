package main

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/quotaworker/ratelimit"

// arrows says which packages of ours a package may import, and so draws the
// house: everything under limiter decides and has never heard of NATS,
// everything under client asks over NATS, worker is the one place where they
// meet, and cmd is the one place where things are built. A package that is not
// here must be added, which is the moment to ask where it belongs.
var arrows = map[string][]string{
	"cmd/ratelimitd":      {"worker", "worker/natsembed", "worker/policykv", "client", "client/httpbridge", "limiter", "limiter/batch", "limiter/denycache", "limiter/failover", "limiter/memstore", "limiter/policy", "limiter/redisstore"},
	"cmd/ratelimit":       {"cmd/ratelimit/bench", "client", "client/wire", "limiter", "limiter/policy", "worker/policykv"},
	"cmd/ratelimit/bench": {"client", "client/wire"},

	"deploy/performance": {"cmd/ratelimit/bench"},

	"worker":           {"client/wire", "limiter", "limiter/batch", "limiter/denycache", "limiter/policy"},
	"worker/policykv":  {"limiter/policy"},
	"worker/natsembed": {},

	"client/httpbridge": {"client", "client/wire"},
	"client":            {"client/wire"},
	"client/wire":       {},

	"limiter/redisstore":           {"limiter", "lua"},
	"limiter/redisstore/redistest": {},
	"limiter/memstore":             {"limiter"},
	"limiter/batch":                {"limiter"},
	"limiter/denycache":            {"limiter"},
	"limiter/failover":             {"limiter"},
	"limiter/policy":               {"limiter"},
	"limiter/limitertest":          {"limiter"},
	"limiter":                      {},
	"lua":                          {},
}

// gates says which packages of ours may import a library, so that whoever
// imports another does not carry it.
var gates = map[string]struct {
	only []string
	why  string
}{
	"github.com/nats-io/nats-server/":        {[]string{"worker/natsembed"}, "it adds 10 MB to whatever imports it"},
	"github.com/nats-io/":                    {[]string{"worker", "worker/natsembed", "worker/policykv", "client", "cmd/ratelimitd", "cmd/ratelimit", "cmd/ratelimit/bench"}, "what decides knows no NATS, and front doors ask through client"},
	"github.com/redis/":                      {[]string{"limiter/redisstore", "cmd/ratelimitd", "cmd/ratelimit/bench"}, "only the store in Redis talks to Redis, and who measures it"},
	"github.com/prometheus/":                 {[]string{"worker", "client/httpbridge", "cmd/ratelimitd"}, "decorators expose Stats and know no metrics library"},
	"github.com/failsafe-go/":                {[]string{"limiter/failover"}, "its API is not stable yet, so one package wraps it"},
	"github.com/goccy/go-yaml":               {[]string{"limiter/policy"}, "documents are read in one place"},
	"github.com/fsnotify/fsnotify":           {[]string{"limiter/policy"}, "files are watched in one place"},
	"github.com/spf13/":                      {[]string{"cmd/ratelimitd", "cmd/ratelimit"}, "command lines are in cmd"},
	"github.com/caarlos0/":                   {[]string{"cmd/ratelimitd"}, "settings are in cmd"},
	"github.com/synadia-io/":                 {[]string{"cmd/ratelimit"}, "NATS contexts are for people at a shell"},
	"pgregory.net/rapid":                     {[]string{"limiter/limitertest"}, "tests only"},
	"testing":                                {[]string{"limiter/limitertest", "limiter/redisstore/redistest"}, "tests only"},
	"github.com/rogpeppe/go-internal":        {nil, "tests only"},
	"go.uber.org/goleak":                     {nil, "tests only"},
	"github.com/dunglas/httpsfv":             {nil, "tests only"},
	"net/http/pprof":                         {nil, "it registers itself on the default mux"},
	"expvar":                                 {nil, "it registers itself on the default mux"},
	module + "/limiter/limitertest":          {nil, "tests only"},
	module + "/limiter/redisstore/redistest": {nil, "tests only"},
}

// stdOnly are the packages that import the standard library and ours only.
var stdOnly = []string{"limiter", "limiter/batch", "limiter/denycache", "limiter/memstore", "client/wire", "lua"}

func TestArrows(t *testing.T) {
	missing := maps.Clone(arrows)
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := arrows[name]
		if !known {
			t.Errorf("package %s is not in the plan of the house; add it to arrows and say what it may import", name)
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module+"/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, but may import only %v of ours", name, ours, allowed)
			}
			if gate, ok := gateOf(imp); ok && !slices.Contains(gate.only, name) {
				t.Errorf("%s imports %s, which only %v may: %s", name, imp, gate.only, gate.why)
			}
			if slices.Contains(stdOnly, name) && strings.Contains(imp, ".") && !strings.HasPrefix(imp, module) {
				t.Errorf("%s imports %s, but must get by with the standard library", name, imp)
			}
		}
		delete(missing, name)
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", name)
		}
	}
	for name := range missing {
		t.Errorf("package %s is in the plan of the house, but not there", name)
	}
}

// gateOf returns the gate with the longest prefix of the import path.
func gateOf(imp string) (gate struct {
	only []string
	why  string
}, ok bool) {
	longest := -1
	for prefix, g := range gates {
		if (imp == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(imp, prefix)) && len(prefix) > longest {
			gate, ok, longest = g, true, len(prefix)
		}
	}
	return gate, ok
}

type listedPackage struct {
	ImportPath, Doc  string
	GoFiles, Imports []string // without those of tests
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestTopLevel holds the customer's list of top-level folders.
func TestTopLevel(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for path := range strings.Lines(string(out)) {
		top, _, nested := strings.Cut(strings.TrimSpace(path), "/")
		if nested && !strings.HasPrefix(top, ".") && !slices.Contains([]string{"cmd", "worker", "client", "limiter", "lua", "deploy"}, top) {
			t.Errorf("top-level folder %q is not on the list: cmd worker client limiter lua deploy", top)
		}
	}
}
