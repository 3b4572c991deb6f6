package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// splitKey is the inverse of KeyOf for the keys that CheckKey accepts. It is
// written apart from the code it tests.
func splitKey(t *testing.T, key string) []string {
	var tokens []string
	for token := range strings.SplitSeq(key, ".") {
		var raw []byte
		for len(token) > 0 {
			if token[0] != '%' {
				raw, token = append(raw, token[0]), token[1:]
				continue
			}
			b, err := strconv.ParseUint(token[1:3], 16, 8)
			if err != nil {
				t.Fatalf("%q: %v", key, err)
			}
			raw, token = append(raw, byte(b)), token[3:]
		}
		tokens = append(tokens, string(raw))
	}
	return tokens
}

func TestKeyOf(t *testing.T) {
	for _, tt := range []struct {
		tokens []string
		want   string
	}{
		{[]string{"user", "42"}, "user.42"},
		{[]string{"user_123"}, "user_123"},
		{[]string{"a.b", "c"}, "a%2Eb.c"},
		{[]string{"a", "b.c"}, "a.b%2Ec"},
		{[]string{"10.0.0.1"}, "10%2E0%2E0%2E1"},
		{[]string{"2001:db8::1"}, "2001:db8::1"},
		{[]string{"ann@example.com"}, "ann@example%2Ecom"},
		{[]string{"GET", "/v1/items"}, "GET./v1/items"},
		{[]string{"50% off"}, "50%25%20off"},
		{[]string{"%2E"}, "%252E"},
		{[]string{"*", ">", "$x"}, "%2A.%3E.%24x"},
		{[]string{"{tag}"}, "%7Btag%7D"},
		{[]string{"Malm\u00f6"}, "Malm%C3%B6"},
		{[]string{"a\x00\r\n\xff"}, "a%00%0D%0A%FF"},
		{[]string{"A-Za-z0-9_:@/+=~-"}, "A-Za-z0-9_:@/+=~-"},
	} {
		got := KeyOf(tt.tokens...)
		if got != tt.want {
			t.Errorf("KeyOf(%q) = %q, want %q", tt.tokens, got, tt.want)
		}
		if err := CheckKey(got); err != nil {
			t.Errorf("CheckKey(%q): %v", got, err)
		}
		if tokens := splitKey(t, got); !slices.Equal(tokens, tt.tokens) {
			t.Errorf("%q is made of %q, want %q", got, tokens, tt.tokens)
		}
	}
}

func TestKeyOfNothing(t *testing.T) {
	for _, tokens := range [][]string{nil, {""}, {"", ""}, {"user", ""}, {"", "42"}, {"a", "", "b"}} {
		if key := KeyOf(tokens...); CheckKey(key) == nil {
			t.Errorf("KeyOf(%q) = %q, which is accepted", tokens, key)
		}
	}
}

func TestJoinKey(t *testing.T) {
	for _, tt := range []struct{ prefix, key, want string }{
		{"acme", "user.42", "acme.user.42"},
		{"acme.eu", "user", "acme.eu.user"},
		{"", "user", "user"},
		{"acme", "", "acme"},
		{"", "", ""},
	} {
		if got := JoinKey(tt.prefix, tt.key); got != tt.want {
			t.Errorf("JoinKey(%q, %q) = %q, want %q", tt.prefix, tt.key, got, tt.want)
		}
	}
}

func TestCheckKeyRefuses(t *testing.T) {
	long := strings.Repeat("a", 60)
	for _, tt := range []struct{ key, want string }{
		{"", `the key is empty; name who is limited, as in "user.42"`},
		{"user 42", `key "user 42" has a byte at position 5 that must be escaped (0x20); write it as "user%2042"`},
		{"*", `key "*" has a byte at position 1 that must be escaped (0x2A); write it as "%2A"`},
		{"user.>", `key "user.>" has a byte at position 6 that must be escaped (0x3E); write it as "user.%3E"`},
		{"a\r\nPUB x 1", `key "a\r\nPUB x 1" has a byte at position 2 that must be escaped (0x0D); write it as "a%0D%0APUB%20x%201"`},
		{"\u00e9", `key "\u00e9" has a byte at position 1 that must be escaped (0xC3); write it as "%C3%A9"`},
		{"\xff", `key "\xff" has a byte at position 1 that must be escaped (0xFF); write it as "%FF"`},
		{"a%2eb", `key "a%2eb" has an escape at position 2 in lower case; write it as "a%2Eb"`},
		{"a%2Fb", `key "a%2Fb" has an escape at position 2 of a byte that needs none; write it as "a/b"`},
		{"a%41", `key "a%41" has an escape at position 2 of a byte that needs none; write it as "aA"`},
		{"100%", `key "100%" has a % at position 4 that is not followed by two hex digits; write it as "100%25"`},
		{"a%zz", `key "a%zz" has a % at position 2 that is not followed by two hex digits; write it as "a%25zz"`},
		{"a%2", `key "a%2" has a % at position 2 that is not followed by two hex digits; write it as "a%252"`},
		{"a..b", `key "a..b" has an empty token at position 3; dots separate tokens, and a dot within a token is written %2E`},
		{".a", `key ".a" has an empty token at position 1; dots separate tokens, and a dot within a token is written %2E`},
		{"a.", `key "a." has an empty token at position 3; dots separate tokens, and a dot within a token is written %2E`},
		{".", `key "." has an empty token at position 1; dots separate tokens, and a dot within a token is written %2E`},
		{long + " bcdef", `key "` + long + ` bcd"... has a byte at position 61 that must be escaped (0x20); write that part as "%20"`},
		{long + "%2ecdef", `key "` + long + `%2ec"... has an escape at position 61 in lower case; write that part as "%2E"`},
		{strings.Repeat("a", 257), `key "` + strings.Repeat("a", 64) + `"... is 257 bytes long and must be at most 256; use a hash of the long part`},
		{strings.Repeat("a.", 16) + "a", `key "` + strings.Repeat("a.", 16) + `a" has 17 tokens and must have at most 16`},
	} {
		err := CheckKey(tt.key)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalidKey {
			t.Errorf("CheckKey(%q) = %v, want an Error of invalid_key", tt.key, err)
			continue
		}
		if e.Message != tt.want {
			t.Errorf("CheckKey(%q)\ngot  %s\nwant %s", tt.key, e.Message, tt.want)
		}
	}
}

func TestCheckKeyAccepts(t *testing.T) {
	for _, key := range []string{
		"a", "user_123", "a.b", "%2E", "%25.%2A",
		strings.Repeat("a", MaxKeyLength),
		strings.Repeat("a.", MaxKeyTokens-1) + "a",
	} {
		if err := CheckKey(key); err != nil {
			t.Errorf("CheckKey(%q): %v", key, err)
		}
	}
}

func TestCheckKeyOfEachByte(t *testing.T) {
	// The set, spelled out a second time.
	set := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:@/+=~-"
	for b := range 256 {
		raw := string([]byte{byte(b)})
		inSet := strings.Contains(set, raw)
		if got := CheckKey("x"+raw+"y") == nil; got != (inSet || raw == ".") {
			t.Errorf("byte 0x%02X stands for itself: %v", b, got)
		}
		if got := CheckKey(fmt.Sprintf("x%%%02Xy", b)) == nil; got == inSet {
			t.Errorf("byte 0x%02X may be escaped: %v", b, got)
		}
	}
}

// TestHostileKeys keeps messages fit to be shown and logged, whatever the key.
func TestHostileKeys(t *testing.T) {
	for _, key := range []string{
		strings.Repeat("a", 1<<20),
		strings.Repeat("\x00", 1<<20),
		strings.Repeat("\xff", 1<<20),
		strings.Repeat(".", 1<<20),
		strings.Repeat("%", 1<<20),
		strings.Repeat("\u202e", 85),
		strings.Repeat("%", 256),
		strings.Repeat("\n", 256),
	} {
		err := CheckKey(key)
		if err == nil {
			t.Errorf("%.20q... is accepted", key)
			continue
		}
		checkMessage(t, err.Error())
	}
}

// checkMessage fails the test unless a message is short and printable.
func checkMessage(t *testing.T, message string) {
	t.Helper()
	if len(message) > 700 {
		t.Errorf("the message has %d bytes: %.100s...", len(message), message)
	}
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' {
			t.Errorf("the message has the byte 0x%02X: %q", c, message)
			return
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("user", "42", "")
	f.Add("a.b", "c", "%2E")
	f.Add("", "*", ">")
	f.Add("\x00\xff", "Malm\u00f6", "%2e")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		// Whatever the tokens, they come back out of their key; so no two
		// lists of tokens have one key.
		tokens := []string{a, b, c}
		key := KeyOf(tokens...)
		if got := splitKey(t, key); !slices.Equal(got, tokens) {
			t.Fatalf("KeyOf(%q) = %q, which is made of %q", tokens, key, got)
		}
		good := a != "" && b != "" && c != "" && len(key) <= MaxKeyLength
		if err := CheckKey(key); (err == nil) != good {
			t.Fatalf("CheckKey(KeyOf(%q)) = %v", tokens, err)
		}
		// A key that is accepted as it is has no other spelling.
		err := CheckKey(a)
		if err == nil {
			if again := KeyOf(splitKey(t, a)...); again != a {
				t.Fatalf("%q is accepted but spelled %q", a, again)
			}
			return
		}
		checkMessage(t, err.Error())
		// What the message proposes is accepted, unless more is wrong than
		// the spelling.
		if right := respell(a); len(right) <= MaxKeyLength && !slices.Contains(strings.Split(right, "."), "") &&
			strings.Count(right, ".") < MaxKeyTokens && CheckKey(right) != nil {
			t.Fatalf("%q is respelled %q, which is not accepted either", a, right)
		}
	})
}
