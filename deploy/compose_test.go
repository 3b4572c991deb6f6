package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

// TestComposePolicies follows the policies of docker-compose.yml to the file
// that is mounted there, which must have neither errors nor warnings.
func TestComposePolicies(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Environment map[string]string
			Volumes     []string
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	worker := compose.Services["worker"]
	inside := worker.Environment["RATELIMIT_POLICIES"]
	for _, volume := range worker.Volumes {
		parts := strings.Split(volume, ":") // here, there, how
		file, ok := strings.CutPrefix(inside, parts[1]+"/")
		if !ok {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", parts[0], file))
		if err != nil {
			t.Fatal(err)
		}
		set, err := policy.Parse(file, text)
		if err != nil {
			t.Fatal(err)
		}
		if warnings := policy.Lint(set, 0); set.Len() == 0 || len(warnings) > 0 {
			t.Errorf("%s has %d policies and the warnings %v", file, set.Len(), warnings)
		}
		return
	}
	t.Errorf("no volume of the workers %q has the policies %q", worker.Volumes, inside)
}
