package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSettingsExist finds variables that no program reads: the README's table
// is made from the programs.
func TestSettingsExist(t *testing.T) {
	known := words(t, "../README.md", "(?m)^\\| `([A-Z_]+)` \\|")
	for _, path := range []string{"README.md", "../docker-compose.yml", "../Dockerfile"} {
		used := words(t, path, `\b((?:RATELIMIT|REDIS|NATS)_[A-Z_]+)\b`)
		for _, name := range used {
			if path == "../docker-compose.yml" && name == "NATS_PORT" {
				continue // a variable of the file itself
			}
			if !slices.Contains(known, strings.TrimSuffix(name, "_FILE")) {
				t.Errorf("%s: %s is not a setting", path, name)
			}
		}
	}
}

// words returns what the first group of pattern matches in a file, which must
// have some.
func words(t *testing.T, path, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("%s: nothing matches %s", path, pattern)
	}
	return all
}
