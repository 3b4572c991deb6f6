package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

// document writes policies with these patterns, each with the limit 1/s.
func document(patterns ...string) string {
	var b strings.Builder
	b.WriteString("policies:\n")
	for _, p := range patterns {
		fmt.Fprintf(&b, "- match: %q\n  limits: 1/s\n", p)
	}
	return b.String()
}

func patternOf(m policy.Match) string {
	if m.Policy == nil {
		return ""
	}
	return m.Policy.Pattern
}

func TestTheMostSpecificPatternWins(t *testing.T) {
	set := mustParse(t, document(
		"user.*", "user.42", "user.>", "user.42.login", "user.*.login", "user.*.*",
		"tenant.>", "tenant.*.api.>", "tenant.acme.api.search", "tenant.acme.api.>", "tenant.*.api.*.v1", "tenant.acme.api.*.v1",
		"ip.10%2E0%2E0%2E1", "a@b.c:d/e+f=g~h-i_j",
	))
	for key, want := range map[string]string{
		"user.1":                    "user.*",
		"user.42":                   "user.42",
		"user.42.login":             "user.42.login",
		"user.1.login":              "user.*.login",
		"user.1.logout":             "user.*.*",
		"user.1.a.b":                "user.>",
		"user":                      "",
		"users.1":                   "",
		"tenant.x":                  "tenant.>",
		"tenant.x.api":              "tenant.>",
		"tenant.x.api.y":            "tenant.*.api.>",
		"tenant.x.api.y.z":          "tenant.*.api.>",
		"tenant.x.api.y.v1":         "tenant.*.api.*.v1",
		"tenant.acme.api.search":    "tenant.acme.api.search",
		"tenant.acme.api.search.v1": "tenant.acme.api.*.v1",
		"tenant.acme.api.search.v2": "tenant.acme.api.>",
		"tenant.acme.web":           "tenant.>",
		"ip.10%2E0%2E0%2E1":         "ip.10%2E0%2E0%2E1",
		"a@b.c:d/e+f=g~h-i_j":       "a@b.c:d/e+f=g~h-i_j",
		// No keys at all.
		"": "", ".": "", "user.": "", ".42": "", "user..login": "",
	} {
		if got := patternOf(set.Match(key)); got != want {
			t.Errorf("Match(%q) = %q, want %q", key, got, want)
		}
	}
}

// matches is the definition of a match.
func matches(pattern, key []string) bool {
	switch {
	case len(pattern) == 1 && pattern[0] == ">":
		return len(key) > 0
	case len(pattern) == 0 || len(key) == 0:
		return len(pattern) == len(key)
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && matches(pattern[1:], key[1:])
}

// reference finds the winner by the definition: the matching pattern whose
// keys are keys of all other matching patterns.
func reference(t *rapid.T, patterns [][]string, key []string) []string {
	var matching [][]string
	for _, p := range patterns {
		if matches(p, key) {
			matching = append(matching, p)
		}
	}
	for _, p := range matching {
		if !slices.ContainsFunc(matching, func(q []string) bool { return !includes(q, p) }) {
			return p
		}
	}
	if len(matching) > 0 {
		t.Fatalf("%v: none of %v is the most specific, and Parse did not say so", key, matching)
	}
	return nil
}

// includes reports whether a matches all keys that b matches. It tries them:
// a token that stands in neither pattern stands for all of its kind.
func includes(a, b []string) bool {
	for _, key := range samples(b) {
		if !matches(a, key) {
			return false
		}
	}
	return true
}

// crosses reports whether the patterns share keys that are not all keys of
// one, and which pattern matches just those.
func crosses(a, b []string) (shared []string, ok bool) {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a) || i >= len(b):
			return nil, false
		case a[i] == ">":
			return append(shared, b[i:]...), !includes(a, b) && !includes(b, a)
		case b[i] == ">":
			return append(shared, a[i:]...), !includes(a, b) && !includes(b, a)
		case a[i] == "*":
			shared = append(shared, b[i])
		case b[i] == "*" || a[i] == b[i]:
			shared = append(shared, a[i])
		default:
			return nil, false
		}
	}
	return shared, !includes(a, b) && !includes(b, a)
}

// samples returns keys of the pattern that stand for all.
func samples(pattern []string) [][]string {
	var key []string
	for i, token := range pattern {
		switch token {
		case "*":
			token = "other"
		case ">":
			token = "other"
			if i == len(pattern)-1 {
				one := append(slices.Clone(key), token)
				many := slices.Clone(one)
				all := [][]string{one}
				for range 6 {
					many = append(many, "other")
					all = append(all, slices.Clone(many))
				}
				return all
			}
		}
		key = append(key, token)
	}
	return [][]string{key}
}

func drawPattern(t *rapid.T) []string {
	p := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "b", "c", "*"}), 0, 4).Draw(t, "tokens")
	if len(p) == 0 || rapid.IntRange(0, 3).Draw(t, "rest") == 0 {
		p = append(p, ">")
	}
	return p
}

func TestMatchEqualsTheDefinition(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var patterns [][]string
		var lines []string
		// A set is made fit by adding what its patterns share, half of the times.
		complete := rapid.Bool().Draw(t, "complete")
		add := func(p []string) {
			if line := strings.Join(p, "."); !slices.Contains(lines, line) && len(lines) < 60 {
				patterns, lines = append(patterns, p), append(lines, line)
			}
		}
		for range rapid.IntRange(2, 12).Draw(t, "n") {
			add(drawPattern(t))
		}
		fit := true
		for i := 0; i < len(patterns); i++ {
			for j := range i {
				if shared, ok := crosses(patterns[i], patterns[j]); ok && complete {
					add(shared)
				}
			}
		}
		for i := range patterns {
			for j := range i {
				if shared, ok := crosses(patterns[i], patterns[j]); ok {
					fit = fit && slices.Contains(lines, strings.Join(shared, "."))
				}
			}
		}
		set, err := policy.Parse("p.yaml", []byte(document(lines...)))
		if (err == nil) != fit {
			t.Fatalf("Parse(%q): %v; by definition it is %v that each two share nothing or a pattern", lines, err, fit)
		}
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), "neither is more specific") {
				t.Fatal(err)
			}
			return
		}
		accepted++
		for range 20 {
			key := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 6).Draw(t, "key")
			got := patternOf(set.Match(strings.Join(key, ".")))
			want := strings.Join(reference(t, patterns, key), ".")
			if got != want {
				t.Fatalf("of %q for %q: got %q, want %q", lines, key, got, want)
			}
			explained := set.Explain(strings.Join(key, "."))
			if patternOf(explained.Match) != want {
				t.Fatalf("Explain(%q) has %q, want %q", key, patternOf(explained.Match), want)
			}
			n := 0
			for _, p := range patterns {
				if matches(p, key) {
					n++
				}
			}
			if want != "" && len(explained.Others) != n-1 {
				t.Fatalf("Explain(%q) has %d others, want %d", key, len(explained.Others), n-1)
			}
		}
	})
	t.Logf("%d sets were accepted and %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("the test did not see both")
	}
}

// TestPatternsAreSpelledLikeKeys holds the rule of patterns to that of keys on
// the wire: a pattern without wildcards is one if and only if it is a key.
func TestPatternsAreSpelledLikeKeys(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, key string) {
		_, err := policy.Parse("p.yaml", []byte(document(key)))
		if want := wire.CheckKey(key); (err == nil) != (want == nil) {
			t.Errorf("as a pattern, %q is %v; as a key, %v", key, err, want)
		}
	}
	for b := range 0x80 {
		check(t, "a"+string(rune(b))+"b")
		check(t, fmt.Sprintf("a%%%02Xb", b))
		check(t, fmt.Sprintf("a%%%02xb", b))
	}
	check(t, strings.Repeat("a", 256))
	check(t, strings.Repeat("a", 257))
	check(t, strings.Repeat("a.", 15)+"a")
	check(t, strings.Repeat("a.", 16)+"a")
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.StringOfN(rapid.SampledFrom([]rune("aZ09_:@/+=~-.%2EF e{}")), 1, 12, -1).Draw(t, "key"))
	})
}

const overridden = `
plans:
  free: 10/s
  pro: 100/s
policies:
  - match: user.*
    plan: free
  - match: user.*.login
    name: login
    limits: 5/m
  - match: ip.*
    limits: 20/s
overrides:
  - match: user.42
    plan: pro
  - match: user.>
    plan: pro
  - match: user.66
    deny: true
  - match: user.66.>
    deny: true
  - match: user.1
    limits: 7/s
  - match: ip.9
    unlimited: true
  - match: nobody
    deny: true
`

func TestOverrides(t *testing.T) {
	set := mustParse(t, overridden)
	for key, want := range map[string]string{
		"user.42":       "plan pro (default: 100/s)",
		"user.43":       "plan pro (default: 100/s)", // by user.>
		"user.42.login": "default: 5/m",              // no plan, so the override does not apply
		"user.66":       "deny",
		"user.66.login": "deny",
		"user.1":        "default: 7/s",
		"user.1.login":  "default: 5/m",
		"ip.9":          "unlimited",
		"ip.8":          "default: 20/s",
	} {
		m := set.Match(key)
		if m.Policy == nil || m.Bucket != key {
			t.Errorf("Match(%q) = %+v", key, m)
		} else if got := m.Allowance().String(); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if m := set.Match("nobody"); m != (policy.Match{}) {
		t.Errorf("a key without a policy: %+v, want nothing, whatever the overrides say", m)
	}
}

func TestMatchNamed(t *testing.T) {
	set := mustParse(t, overridden)
	for _, tt := range []struct{ key, name, bucket, allowance string }{
		{"user.42", "login", "user.42.!login", "default: 5/m"},      // another policy has buckets of its own
		{"user.66", "login", "user.66.!login", "default: 5/m"},      // and no overrides
		{"user.42.login", "login", "user.42.login", "default: 5/m"}, // what matches anyway is the same
		{"user.66.login", "login", "user.66.login", "deny"},
		{"nobody", "login", "nobody.!login", "default: 5/m"},
		{"user.42", "user.*", "user.42", "plan pro (default: 100/s)"},
	} {
		m, ok := set.MatchNamed(tt.key, tt.name)
		if !ok || m.Policy != set.Named(tt.name) || m.Bucket != tt.bucket || m.Allowance().String() != tt.allowance {
			t.Errorf("MatchNamed(%q, %q) = %+v, %v, %s; want %+v", tt.key, tt.name, m, ok, m.Allowance(), tt)
		}
	}
	if m, ok := set.MatchNamed("user.42", "nothing"); ok || m != (policy.Match{}) || set.Named("nothing") != nil {
		t.Errorf("a policy that does not exist: %+v, %v", m, ok)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	set := mustParse(t, overridden)
	for _, key := range []string{"user.42", "user.42.login", "ip.9", "nobody.at.all"} {
		if n := testing.AllocsPerRun(100, func() { set.Match(key) }); n != 0 {
			t.Errorf("Match(%q) allocates %v times", key, n)
		}
	}
}

func TestEnforced(t *testing.T) {
	policyOf := func(fields string) *policy.Policy {
		return mustParse(t, "policies:\n- match: user.*\n  limits: 1/s\n"+fields).Match("user.1").Policy
	}
	ramp := make([]*policy.Policy, 101)
	for i := range ramp {
		ramp[i] = policyOf(fmt.Sprintf("  enforce_percent: %d\n", i))
	}
	counts := make([]int, 101)
	for i := range 20_000 {
		key := fmt.Sprintf("user.%d", i)
		was := false
		for percent, p := range ramp {
			is := p.Enforced(key)
			if was && !is {
				t.Fatalf("%s is enforced at %d %% and no more at %d %%", key, percent-1, percent)
			}
			if is {
				counts[percent]++
			}
			was = is
		}
	}
	for percent, n := range counts {
		if want := 200 * percent; n < want-600 || n > want+600 || percent%100 == 0 && n != want {
			t.Errorf("%d %% enforce %d of 20000 keys, want about %d", percent, n, want)
		}
	}
	// The hash is a promise over versions.
	for key, want := range map[string]bool{"user.1": true, "user.42": false, "user.7": true} {
		if got := ramp[50].Enforced(key); got != want {
			t.Errorf("at 50 %%, %s: %v, want %v", key, got, want)
		}
	}
	for _, fields := range []string{"  mode: shadow\n", "  mode: off\n", "  mode: shadow\n  enforce_percent: 50\n"} {
		if policyOf(fields).Enforced("user.1") {
			t.Errorf("%q is enforced", fields)
		}
	}
	if !policyOf("").Enforced("user.1") {
		t.Error("without a mode, it is not enforced")
	}
}
