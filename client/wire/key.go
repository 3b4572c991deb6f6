package wire

import (
	"strconv"
	"strings"
)

// Bounds of a key. They are what NATS recommends for a subject; a subject of
// more than 4 KB even makes the server close the connection for good.
const (
	// MaxKeyLength bounds a key in its canonical form, in bytes.
	MaxKeyLength = 256

	// MaxKeyTokens bounds the tokens of a key.
	MaxKeyTokens = 16
)

const upperHex = "0123456789ABCDEF"

// plain holds the bytes that stand for themselves in a token.
var plain = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:@/+=~-") {
		set[c] = true
	}
	return set
}()

// KeyOf makes a key of tokens, which may hold any bytes: what cannot stand in
// a key is escaped. Different tokens make different keys, so KeyOf("a.b", "c")
// is not KeyOf("a", "b.c"). An empty token, or none at all, makes a key that
// [CheckKey] refuses, because a missing name should be noticed rather than be
// shared by everybody who lacks one.
func KeyOf(tokens ...string) string {
	size := len(tokens)
	for _, t := range tokens {
		size += len(t)
	}
	var b strings.Builder
	b.Grow(size)
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte('.')
		}
		for j := range len(t) {
			writeEscaped(&b, t[j])
		}
	}
	return b.String()
}

// JoinKey puts a prefix, which is a key itself, before a key. An empty prefix
// or key adds nothing. The result can be too long even if both are valid.
func JoinKey(prefix, key string) string {
	if prefix == "" || key == "" {
		return prefix + key
	}
	return prefix + "." + key
}

// CheckKey returns nil for a key in canonical form and within its bounds, and
// otherwise an *[Error] of [CodeInvalidKey] that says how to write it.
func CheckKey(key string) error {
	// Without this detour a nil *Error would become an error that is not nil.
	if e := checkKey(key); e != nil {
		return e
	}
	return nil
}

func checkKey(key string) *Error {
	if key == "" {
		return Errorf(CodeInvalidKey, `the key is empty; name who is limited, as in "user.42"`)
	}
	if len(key) > MaxKeyLength {
		return Errorf(CodeInvalidKey, "key %s is %d bytes long and must be at most %d; use a hash of the long part", quote(key), len(key), MaxKeyLength)
	}
	tokens, start := 1, 0
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case plain[c]:
		case c == '.':
			if i == start {
				return errEmptyToken(key, i)
			}
			tokens, start = tokens+1, i+1
		case c != '%':
			return errSpelling(key, i, "a byte at position %d that must be escaped (0x%02X)", i+1, c)
		default:
			b, ok := unescape(key[i:])
			switch {
			case !ok:
				return errSpelling(key, i, "a %% at position %d that is not followed by two hex digits", i+1)
			case plain[b]:
				return errSpelling(key, i, "an escape at position %d of a byte that needs none", i+1)
			case key[i+1] >= 'a' || key[i+2] >= 'a':
				return errSpelling(key, i, "an escape at position %d in lower case", i+1)
			}
			i += 2
		}
	}
	if start == len(key) {
		return errEmptyToken(key, start)
	}
	if tokens > MaxKeyTokens {
		return Errorf(CodeInvalidKey, "key %s has %d tokens and must have at most %d", quote(key), tokens, MaxKeyTokens)
	}
	return nil
}

func errEmptyToken(key string, i int) *Error {
	return Errorf(CodeInvalidKey, "key %s has an empty token at position %d; dots separate tokens, and a dot within a token is written %%2E", quote(key), i+1)
}

// errSpelling complains about key[i] and shows the right spelling: of the
// whole key if it is short enough to be copied from a message, else of what
// is wrong first.
func errSpelling(key string, i int, format string, args ...any) *Error {
	e := Errorf(CodeInvalidKey, "key %s has "+format, append([]any{quote(key)}, args...)...)
	if right := respell(key); len(right) <= maxQuote {
		e.Message += "; write it as " + strconv.Quote(right)
	} else if _, ok := unescape(key[i:]); ok {
		e.Message += "; write that part as " + strconv.Quote(respell(key[i:i+3]))
	} else {
		e.Message += "; write that part as " + strconv.Quote(respell(key[i:i+1]))
	}
	return e
}

// respell returns the canonical form of what key most likely means: escapes
// are taken for escapes and dots for separators.
func respell(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c == '.' {
			b.WriteByte(c)
			continue
		}
		if d, ok := unescape(key[i:]); ok {
			c = d
			i += 2
		}
		writeEscaped(&b, c)
	}
	return b.String()
}

func writeEscaped(b *strings.Builder, c byte) {
	if plain[c] {
		b.WriteByte(c)
		return
	}
	b.WriteByte('%')
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&15])
}

// unescape returns the byte whose escape s starts with, in either case.
func unescape(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	hi, ok1 := unhex(s[1])
	lo, ok2 := unhex(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// maxQuote bounds what a message quotes of its input, in bytes.
const maxQuote = 64

// quote makes any input fit for a message: short and printable.
func quote(s string) string {
	if len(s) > maxQuote {
		return strconv.QuoteToASCII(s[:maxQuote]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
