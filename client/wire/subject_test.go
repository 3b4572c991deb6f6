package wire

import "testing"

func TestSubject(t *testing.T) {
	for _, tt := range []struct {
		verb Verb
		key  string
		want string
	}{
		{VerbCheck, "user_123", "ratelimit.check.user_123"},
		{VerbCheck, "tenant.acme.user.42", "ratelimit.check.tenant.acme.user.42"},
		{VerbCheck, "", "ratelimit.check"},
		{VerbCheck, ">", "ratelimit.check.>"},
		{VerbPeek, "check", "ratelimit.peek.check"},
		{VerbReset, "user_123", "ratelimit.reset.user_123"},
		{VerbRefund, "user_123", "ratelimit.refund.user_123"},
	} {
		got := Subject(tt.verb, tt.key)
		if got != tt.want {
			t.Errorf("Subject(%q, %q) = %q, want %q", tt.verb, tt.key, got, tt.want)
		}
		if key := KeyFromSubject(tt.verb, got); key != tt.key {
			t.Errorf("KeyFromSubject(%q, %q) = %q, want %q", tt.verb, got, key, tt.key)
		}
	}
}

func TestKeyFromSubjectOfAnother(t *testing.T) {
	for _, subject := range []string{
		"", "ratelimit", "ratelimit.", "ratelimit.checks.user", "ratelimit.checker",
		"ratelimit.peek.user", "other.ratelimit.check.user", "RATELIMIT.check.user",
	} {
		if key := KeyFromSubject(VerbCheck, subject); key != "" {
			t.Errorf("KeyFromSubject(check, %q) = %q, want none", subject, key)
		}
	}
}
