package policy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

const explained = `plans:
  free: 10/s burst 20
  pro: 100/s
policies:
  - match: tenant.>
    plan: free
  - match: tenant.*.api.*
    plan: free
    enforce_percent: 50
  - match: tenant.*.login
    name: login
    limits: 5/m
    on_outage: deny
  - match: tenant.*.beta
    limits: 1/s
    mode: shadow
overrides:
  - match: tenant.acme.>
    plan: pro
  - match: tenant.acme.api.search
    limits: 7/s
  - match: nobody.>
    deny: true
`

func TestExplain(t *testing.T) {
	set := mustParse(t, explained)
	for key, want := range map[string]string{
		"tenant.acme.api.search": `
The key tenant.acme.api.search is decided by the policy tenant.*.api.* (line 7).
  tenant.*.api.* is more specific than tenant.> (line 5): token 2 is * rather than >
  The override tenant.acme.api.search (line 20) gives default: 7/s instead of plan free (default: 10/s burst 20).
  The override tenant.acme.> (line 18) has no effect: a more specific one counts.
  Allowed: default: 7/s.
  Mode: enforce, but for 50 % of the keys, and this is not one of them: nothing is denied.
  On an outage: memory.
`,
		"tenant.beta.api.search": `
The key tenant.beta.api.search is decided by the policy tenant.*.api.* (line 7).
  tenant.*.api.* is more specific than tenant.> (line 5): token 2 is * rather than >
  Allowed: plan free (default: 10/s burst 20).
  Mode: enforce, but for 50 % of the keys, and this is not one of them: nothing is denied.
  On an outage: memory.
`,
		"tenant.acme.login": `
The key tenant.acme.login is decided by the policy login, which is for tenant.*.login (line 10).
  tenant.*.login is more specific than tenant.> (line 5): token 2 is * rather than >
  The override tenant.acme.> (line 18) has no effect: it changes the plan, and the policy has none.
  Allowed: default: 5/m.
  Mode: enforce.
  On an outage: deny.
`,
		"tenant.acme.beta": `
The key tenant.acme.beta is decided by the policy tenant.*.beta (line 14).
  tenant.*.beta is more specific than tenant.> (line 5): token 2 is * rather than >
  The override tenant.acme.> (line 18) has no effect: it changes the plan, and the policy has none.
  Allowed: default: 1/s.
  Mode: shadow, nothing is denied.
  On an outage: memory.
`,
		"tenant.x": `
The key tenant.x is decided by the policy tenant.> (line 5).
  No other policy matches.
  Allowed: plan free (default: 10/s burst 20).
  Mode: enforce.
  On an outage: memory.
`,
		"tenant.gamma.api.list": `
The key tenant.gamma.api.list is decided by the policy tenant.*.api.* (line 7).
  tenant.*.api.* is more specific than tenant.> (line 5): token 2 is * rather than >
  Allowed: plan free (default: 10/s burst 20).
  Mode: enforce, for 50 % of the keys, and this is one of them.
  On an outage: memory.
`,
		"nobody.1": `
No policy matches the key nobody.1.
  The override nobody.> (line 22) has no effect: there is no policy that it could change.
`,
		"user.1": `
No policy matches the key user.1.
`,
	} {
		if got := "\n" + set.Explain(key).String(); got != want {
			t.Errorf("got%swant%s", got, want)
		}
	}
}

func TestDiff(t *testing.T) {
	from := mustParse(t, explained)
	to := mustParse(t, `
plans:
  free: 20/s
  gold: {second: 500/s, day: 1000000/day}
policies:
  - match: tenant.*.login
    name: login
    limits: {minute: 5/m}
    on_outage: memory
    enforce_percent: 10
  - match: tenant.>
    plan: free
  - match: tenant.*.api.*
    plan: free
    enforce_percent: 50
  - match: ip.>
    deny: true
overrides:
  - match: tenant.acme.>
    plan: gold
`)
	var got strings.Builder
	for _, c := range policy.Diff(from, to) {
		fmt.Fprintln(&got, c)
	}
	want := `~ plan free
    limit default: 10/s burst 20 -> 20/s
+ plan gold
    limit second: 500/s
    limit day: 1000000/d
- plan pro
    limit default: 100/s
~ policy login
    limit minute: 5/m (new)
    on_outage: deny -> memory
    enforce_percent: 10 (new)
    limit default: 5/m (removed)
+ policy ip.>
    deny: true
    on_outage: memory
    mode: enforce
- policy tenant.*.beta
    limit default: 1/s
    on_outage: memory
    mode: shadow
~ override tenant.acme.>
    plan: pro -> gold
- override tenant.acme.api.search
    limit default: 7/s
- override nobody.>
    deny: true
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	if d := policy.Diff(from, from); d != nil {
		t.Errorf("a set differs from itself: %v", d)
	}
	if d := policy.Diff(nil, to); len(d) != 7 || slices.ContainsFunc(d, func(c policy.Change) bool { return c.Kind != policy.Added }) {
		t.Errorf("from nothing: %v", d)
	}
	if d := policy.Diff(to, nil); len(d) != 7 || slices.ContainsFunc(d, func(c policy.Change) bool { return c.Kind != policy.Removed }) {
		t.Errorf("to nothing: %v", d)
	}
}

func TestLint(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		hashTag    int
		want       []string
	}{
		{"the sample of explain", explained, 0, []string{`line 22: override "nobody.>" has no effect, because no policy matches any of its keys`}},
		{"unreachable", document("a.>", "a.*", "a.*.>", "b.>", "b.*", "b.*.*", "c.>", "c.*.>"), 0, []string{
			`line 2: policy "a.>" never applies, because more specific ones match all of its keys; leave it out`,
		}},
		{"unreachable for its length", document("1.2.3.4.5.6.7.8.9.10.11.12.13.14.>", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.*", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.*.*"), 0, []string{
			`line 2: policy "1.2.3.4.5.6.7.8.9.10.11.12.13.14.>" never applies, because more specific ones match all of its keys; leave it out`,
		}},
		{"idle limits", `
policies:
- {match: a, limits: {second: 10/s, minute: 1000/m}}
- {match: b, limits: {second: 10/s burst 100, minute: 1000/m burst 50}}
- {match: c, limits: {x: 10/s, y: 600/m burst 10}}
- {match: d, limits: {second: 10/s, day: {rate: 864011, interval: 1d, algorithm: fixed_window}}}
- {match: e, limits: {second: 10/s, day: {rate: 864009, interval: 1d, algorithm: fixed_window}}}
- {match: f, limits: {second: 10/s, month: {rate: 26_856_010, algorithm: fixed_window, calendar: month}}}
- {match: g, limits: {second: 10/s, month: {rate: 26_856_009, algorithm: fixed_window, calendar: month}}}
- {match: h, limits: {a: {rate: 10, interval: 1s, burst: 20, cost: 2}, b: 100/s}}
- {match: i, limits: {a: {rate: 10, interval: 1s, algorithm: sliding_window}, b: {rate: 11, interval: 1s, algorithm: sliding_window}}}
`, 0, []string{
			`line 3: the limit "minute" (1000/m) can never bind, because "second" (10/s) is always reached before; leave it out`,
			`line 5: the limit "y" (600/m burst 10) can never bind, because "x" (10/s) is always reached before; leave it out`,
			`line 6: the limit "day" (864011/d fixed_window) can never bind, because "second" (10/s) is always reached before; leave it out`,
			`line 8: the limit "month" (26856010 per calendar month fixed_window) can never bind, because "second" (10/s) is always reached before; leave it out`,
			`line 11: the limit "b" (11/s sliding_window) can never bind, because "a" (10/s sliding_window) is always reached before; leave it out`,
		}},
		{"plans and overrides", `
plans:
  free: 10/s
  none: {a: 1/s, b: 2/s}
policies:
- {match: user.*, plan: free}
- {match: ip.*, limits: 1/s, enforce_percent: 0}
- {match: host.>, limits: 1/s}
overrides:
- {match: host.a, deny: true}
- {match: host.*.b, deny: true}
- {match: user.>, plan: free}
- {match: ip.1, plan: free}
- {match: ip.2, deny: true}
- {match: org.>, deny: true}
`, 0, []string{
			`line 4: nobody has the plan "none"; leave it out, or name it in a policy or an override`,
			`line 4: the limit "b" (2/s) can never bind, because "a" (1/s) is always reached before; leave it out`,
			`line 7: policy "ip.*" is enforced for 0 % of its keys; to try it without denying, say mode: shadow`,
			`line 13: override "ip.1" has no effect, because it changes the plan and no policy for its keys has one; give it limits, or the policy a plan`,
			`line 15: override "org.>" has no effect, because no policy matches any of its keys`,
		}},
		{"slots of one tenant", document("tenant.*", "tenant.*.user.*", "tenant.*.api.>"), 2, nil},
		{"slots apart", document("user.*", "ip.>", "endpoint.search"), 1, []string{
			`keys of user.*, ip.>, endpoint.search have no slot in common with those of other policies, because their first tokens (1) differ: a check of several such keys in mode all is taken in turn in Redis Cluster, and given back on a denial; begin keys that are checked together with the same tokens`,
			`line 2: all keys of "user.*" are in one slot, which the first tokens choose (1): one Redis server does all of their work; use more tokens, or begin the keys with what they differ in`,
			`line 4: all keys of "ip.>" are in one slot, which the first tokens choose (1): one Redis server does all of their work; use more tokens, or begin the keys with what they differ in`,
		}},
		{"slots not asked for", document("user.*", "ip.>", "endpoint.search"), 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, w := range policy.Lint(mustParse(t, tt.text), tt.hashTag) {
				got = append(got, w.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestSample holds the sample of the deployment to what it says.
func TestSample(t *testing.T) {
	text, err := os.ReadFile("../../deploy/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Parse("policies.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if w := policy.Lint(set, 0); len(w) > 0 {
		t.Errorf("%v", w)
	}
	for key, want := range map[string]string{
		"ip.10%2E0%2E0%2E1": "ip.*: second: 10/s burst 30, hour: 3600/h|memory|enforce|100",
		"user.42":           "user.*: plan free (second: 5/s burst 20, month: 50000 per calendar month fixed_window)|memory|enforce|100",
		"login.ip.1":        "login: minute: 5/m|deny|enforce|100",
		"login.user.42":     "login: minute: 5/m|deny|enforce|100",
		"endpoint.search":   "endpoint.search: second: 200/s burst 400|allow|enforce|100",
		"endpoint.cart":     "endpoint.*: second: 2000/s|allow|shadow|100",
		"user.1001":         "user.*: plan pro (second: 50/s burst 200, month: 5000000 per calendar month in Europe/Berlin from day 15 fixed_window)|memory|enforce|100",
		"internal.cron":     "internal.>: unlimited|memory|enforce|100",
	} {
		m := set.Match(key)
		if m.Policy == nil {
			t.Errorf("no policy matches %s", key)
			continue
		}
		p := m.Policy
		got := fmt.Sprintf("%s: %s|%s|%s|%d", p.Name, m.Allowance(), p.OnOutage, p.Mode, p.EnforcePercent)
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", key, got, want)
		}
	}
}
