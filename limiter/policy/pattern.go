package policy

import (
	"fmt"
	"strings"
)

// Bounds of a pattern, which are those of a key.
const (
	// MaxPatternLength bounds a pattern, in bytes.
	MaxPatternLength = 256

	// MaxPatternTokens bounds the tokens of a pattern.
	MaxPatternTokens = 16
)

const (
	anyOne  = "*" // one token
	anyRest = ">" // one or more tokens, at the end
)

// checkPattern says why s is no pattern. Its literal tokens must be spelled as
// in a key, because otherwise they could never match one.
func checkPattern(s string) error {
	if s == "" {
		return fmt.Errorf("the pattern is empty; write one such as user.*")
	}
	if len(s) > MaxPatternLength {
		return fmt.Errorf("the pattern is %d bytes long and must be at most %d, like a key", len(s), MaxPatternLength)
	}
	tokens := strings.Split(s, ".")
	if len(tokens) > MaxPatternTokens {
		return fmt.Errorf("pattern %q has %d tokens and must have at most %d, like a key", s, len(tokens), MaxPatternTokens)
	}
	for i, token := range tokens {
		switch {
		case token == "":
			return fmt.Errorf("pattern %q has an empty token; dots separate tokens, and a dot within a token is written %%2E", s)
		case token == anyRest && i < len(tokens)-1:
			return fmt.Errorf("pattern %q has > before its end; it stands for all that follows, so use * for one token", s)
		case token == anyOne || token == anyRest:
		case strings.ContainsAny(token, "*>"):
			return fmt.Errorf("pattern %q has a wildcard within the token %q; * and > must be tokens of their own", s, token)
		default:
			if err := checkToken(token); err != nil {
				return fmt.Errorf("pattern %q: %w", s, err)
			}
		}
	}
	return nil
}

// checkToken says why s is no literal token. The rule is that of the keys on
// the wire; a test holds the two together.
func checkToken(s string) error {
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			continue
		}
		if s[i] != '%' {
			return fmt.Errorf("byte %q must be written %%%02X, as it is in a key", s[i:i+1], s[i])
		}
		if i+2 >= len(s) || !upperHex(s[i+1]) || !upperHex(s[i+2]) {
			return fmt.Errorf("a %% must be followed by two hex digits in upper case, as it is in a key")
		}
		if b := unhex(s[i+1])<<4 | unhex(s[i+2]); plain(b) {
			return fmt.Errorf("%s must be written %c, as it is in a key", s[i:i+3], b)
		}
		i += 2
	}
	return nil
}

// plain reports whether c stands for itself in a key.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_:@/+=~-", c) >= 0
}

func upperHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}

// intersect returns the pattern of the keys that both patterns match, which
// must have such keys.
func intersect(a, b string) string {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	var both []string
	for i := 0; ; i++ {
		switch {
		case i == len(as) || i == len(bs):
			return strings.Join(both, ".")
		case as[i] == anyRest:
			return strings.Join(append(both, bs[i:]...), ".")
		case bs[i] == anyRest:
			return strings.Join(append(both, as[i:]...), ".")
		case as[i] == anyOne:
			both = append(both, bs[i])
		default:
			both = append(both, as[i])
		}
	}
}

// overlap reports whether there is a key that both patterns match.
func overlap(a, b string) bool {
	for {
		x, restA, moreA := strings.Cut(a, ".")
		y, restB, moreB := strings.Cut(b, ".")
		if x == anyRest || y == anyRest {
			return true
		}
		if x != y && x != anyOne && y != anyOne {
			return false
		}
		if !moreA || !moreB {
			return moreA == moreB
		}
		a, b = restA, restB
	}
}
