package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

const everything = `---
# Everything that a document can say.
plans:
  free: 10/s burst 20
  pro:
    second: 100/s burst 200
    month: {rate: 1_000_000, algorithm: fixed_window, calendar: month, zone: Europe/Berlin, anchor_day: 15}

policies:
  - match: user.*
    plan: free
  - name: login   # no pattern: only by name, and to inherit from
    limits:
      minute: 5/m
    on_outage: deny
    enforce_percent: 50
  - match: user.*.login
    inherit: login
  - match: user.*.login.admin
    inherit: user.*.login
    limits: {minute: {rate: 2, interval: minute, burst: 4, cost: 2}}
    enforce_percent: 100
    mode: shadow
  - match: 'export.*'
    limits:
      spaced: {rate: 1, interval: 30s, burst: 3, algorithm: leaky_bucket}
      hour:
        rate: 50
        interval: 1h
        algorithm: sliding_window
    mode: off
    on_outage: allow
  - {match: "staff.>", unlimited: true, deny: false}
  - match: bot.>
    deny: true

overrides:
  - match: user.42
    plan: pro
`

func TestEverything(t *testing.T) {
	for name, text := range map[string]string{
		"as it is":           everything,
		"windows":            strings.ReplaceAll(everything, "\n", "\r\n"),
		"byte order mark":    "\ufeff" + everything,
		"without the ---":    strings.TrimPrefix(everything, "---\n"),
		"no end of line":     strings.TrimSpace(everything),
		"lists not intented": strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(everything, "\n  - ", "\n- "), "\n    ", "\n  "), "\n    calendar", "\n      calendar"),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "lists not intented" {
				text = strings.Replace(text, "pro:\n  second", "pro:\n    second", 1)
				text = strings.Replace(text, "\n  month", "\n    month", 1)
			}
			set := mustParse(t, text)
			testEverything(t, set)
		})
	}
}

func testEverything(t *testing.T, set *policy.Set) {
	var got []string
	for p := range set.Policies() {
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%d", p.Name, p.Pattern, &p.Allowance, p.OnOutage, p.Mode, p.EnforcePercent))
	}
	want := []string{
		"user.*|user.*|plan free (default: 10/s burst 20)|memory|enforce|100",
		"login||minute: 5/m|deny|enforce|50",
		"user.*.login|user.*.login|minute: 5/m|deny|enforce|50",
		"user.*.login.admin|user.*.login.admin|minute: 2/m burst 4 cost 2|deny|shadow|100",
		"export.*|export.*|spaced: 1/30s burst 3 leaky_bucket, hour: 50/h sliding_window|allow|off|100",
		"staff.>|staff.>|unlimited|memory|enforce|100",
		"bot.>|bot.>|deny|memory|enforce|100",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	if set.Len() != len(want) {
		t.Errorf("Len() = %d, want %d", set.Len(), len(want))
	}
	for o := range set.Overrides() {
		if o.Pattern != "user.42" || o.Plan != "pro" || len(o.Limits) != 2 {
			t.Errorf("override %+v", o)
		}
	}
	m := set.Match("user.42")
	month := m.Allowance().Limits[1].Rule.Limit()
	if want := (limiter.Limit{Name: "month", Rate: 1e6, Burst: 1e6, Algorithm: limiter.FixedWindow, Calendar: limiter.Calendar{Period: "month", Zone: "Europe/Berlin", AnchorDay: 15}}); month != want {
		t.Errorf("the monthly limit is %+v, want %+v", month, want)
	}
}

// TestInheritIsDeep follows a chain as long as a document can be, which must
// neither take long nor run out of stack.
func TestInheritIsDeep(t *testing.T) {
	var b strings.Builder
	const n = 20_000
	b.WriteString("policies:\n")
	for i := range n {
		fmt.Fprintf(&b, "- match: k%d\n  inherit: k%d\n", i, i+1)
	}
	fmt.Fprintf(&b, "- match: k%d\n  limits: 7/s\n  on_outage: deny\n", n)
	set := mustParse(t, b.String())
	p := set.Match("k0").Policy
	if p == nil || p.Pattern != "k0" || p.OnOutage != policy.OutageDeny || p.Limits[0].String() != "default: 7/s" {
		t.Errorf("k0 is %+v", p)
	}
}

func TestJSON(t *testing.T) {
	set := mustParse(t, `{
  "plans": {"free": "10/s"},
  "policies": [
    {"match": "user.*", "plan": "free"},
    {"match": "ip.>", "limits": {"second": {"rate": 5, "interval": "1s"}}}
  ],
  "overrides": []
}`)
	for key, want := range map[string]string{"user.1": "plan free (default: 10/s)", "ip.1.2": "second: 5/s"} {
		if m := set.Match(key); m.Policy == nil || m.Allowance().String() != want {
			t.Errorf("%s: %+v, want %s", key, m.Policy, want)
		}
	}
}

func TestNoPoliciesOnPurpose(t *testing.T) {
	set := mustParse(t, "policies: []\n")
	if set.Len() != 0 || set.Match("user.1") != (policy.Match{}) {
		t.Errorf("%d policies, %+v", set.Len(), set.Match("user.1"))
	}
}

// TestHostileDocuments are documents that would take very long, very much
// memory, or the process with them, if they were just handed to a parser.
func TestHostileDocuments(t *testing.T) {
	const size = 1 << 18
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail
	}
	numbered := func(head, format string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size-200; i++ {
			b.WriteString(strings.ReplaceAll(format, "N", fmt.Sprint(i)))
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"too long":            strings.Repeat("a", policy.MaxSize+1),
		"flow fields":         fill("policies: [{", "a,", "}]"),
		"flow empty fields":   fill("policies: [{", "a:,", "}]"),
		"flow comments":       fill("policies: [\n", " a, # b\n", "]"),
		"deep flow lists":     fill("policies: ", "[", ""),
		"deep flow mappings":  fill("policies: ", "{a: ", ""),
		"deep flow in a plan": fill("plans:\n  a: ", "[", ""),
		"deep block lists":    fill("policies:\n  ", "- ", ""),
		"deep block mappings": fill("plans:\n  ", "a: ", ""),
		"one line":            fill("", "a", ""),
		"one quoted line":     fill(`policies: "`, "a", ""),
		"commas":              fill("policies: [", ",", "]"),
		"many fields":         numbered("policies:\n- match: a\n", "  fN: x\n"),
		"many sections":       numbered("", "sN: x\n"),
		"many plans":          numbered("plans:\n", "  pN: 1/s\n"),
		"many empty plans":    numbered("plans:\n", "  pN:\n"),
		"many limits":         numbered("plans:\n  p:\n", "    lN: 1/s\n"),
		"many bad policies":   numbered("policies:\n", "- match: a b\n"),
		"bad yaml each":       numbered("policies:\n", "- {\n"),
		"comments":            fill("policies:\n", "# a comment\n", ""),
		"empty lines":         fill("policies:\n", "\n", ""),
		"colons":              fill("", ":", ""),
		"dashes":              fill("", "-\n", ""),
		"documents":           fill("", "---\n", ""),
		"anchors":             fill("plans:\n", "  a: &a [*a, *a]\n", ""),
		"bomb":                "plans:\n  a: &a [x,x,x,x]\n  b: &b [*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b]\n",
		"tabs":                fill("policies:\n", "\t- a\n", ""),
		"quotes":              fill("policies:\n", "- \"\n", ""),
		"literals":            fill("policies:\n", "- |\n   a\n", ""),
		"nul":                 fill("", "\x00", ""),
		"not utf-8":           fill("", "\xff\n", ""),
		"stars across":        numbered("policies:\n", "- {match: aN.*, limits: 1/s}\n- {match: '*.bN', limits: 1/s}\n"),
		"stars almost across": numbered("policies:\n", "- {match: aN.*.x, deny: true}\n- {match: '*.bN.y', deny: true}\n"),
		"slow to match":       slowToMatch(),
		"circle":              numbered("policies:\n- {match: k0, inherit: k1}\n", "- {match: kN, inherit: k0}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			set, err := policy.Parse("p.yaml", []byte(text))
			took := time.Since(start)
			switch {
			case name == "many plans":
				if err != nil {
					t.Errorf("it is refused: %.300v", err)
				}
			case err == nil:
				t.Errorf("it is accepted, with %d policies", set.Len())
			case len(err.Error()) > 64<<10:
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
			if took > 30*time.Second { // the race detector makes it ten times as long
				t.Errorf("it took %v", took)
			}
			t.Logf("%v: %.200v", took, err)
		})
	}
}

// slowToMatch has every pattern of a and * over 10 tokens, whose end no key
// has, so that a match would try all of them.
func slowToMatch() string {
	var b strings.Builder
	b.WriteString("policies:\n")
	for i := range 1 << 10 {
		b.WriteString("- {match: '")
		for bit := range 10 {
			b.WriteString([]string{"a.", "*."}[i>>bit&1])
		}
		b.WriteString("z', limits: 1/s}\n")
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add(overridden)
	f.Add(`{"policies": [{"match": "user.*", "limits": "1/s"}]}`)
	f.Add("plans:\n  a: &a x\n  b: *a\n  <<: *a\n  ? q\n  : !!str |-\n   x\n")
	f.Add("policies:\n- match: \"\\u0041\\x41\\\n  b\"\n- 'it''s'\n- >\n  a\n- [a, {b: c}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := policy.Parse("p.yaml", []byte(text))
		if (set == nil) == (err == nil) {
			t.Fatalf("Parse returned %v, %v", set, err)
		}
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
					t.Fatalf("the message has control characters: %q", line)
				}
			}
			return
		}
		// What was accepted can be used.
		for p := range set.Policies() {
			key := strings.NewReplacer("*", "x", ">", "x.y").Replace(p.Pattern)
			if m := set.Match(key); p.Pattern != "" && m.Policy == nil {
				t.Fatalf("%q does not match %q", p.Pattern, key)
			}
			if (len(p.Limits) > 0) == (p.Unlimited || p.Deny) {
				t.Fatalf("policy %+v", p)
			}
			_ = set.Explain(key).String()
		}
		_ = policy.Lint(set, 1)
		if d := policy.Diff(set, set); len(d) != 0 {
			t.Fatalf("a set differs from itself: %v", d)
		}
	})
}
