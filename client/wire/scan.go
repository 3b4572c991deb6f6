package wire

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxCount bounds the numbers of a message: 2^53, the last integer up to which
// every JSON reader in the world is exact.
const maxCount = 1 << 53

// maxDepth bounds the nesting of what skip passes over.
const maxDepth = 16

// scanner reads one JSON document without allocating, and stricter than
// encoding/json does: nothing is guessed, replaced or ignored. Its first error
// sticks: from then on every method returns a zero value, so that it is enough
// to look at err where a loop ends.
type scanner struct {
	data []byte
	pos  int
	err  *Error

	// name is the name of the member that member() found last.
	name []byte

	// check is the index of the check that is being read, or -1, and field
	// the member of it: together the path that begins a message.
	check int
	field string
}

// fail records an error about the current field, unless there is one already.
func (s *scanner) fail(format string, args ...any) {
	if s.err != nil {
		return
	}
	s.err = Errorf(CodeInvalidRequest, format, args...)
	if path := s.path(); path != "" {
		s.err.Message = path + ": " + s.err.Message
	}
}

func (s *scanner) path() string {
	if s.check < 0 {
		return s.field
	}
	path := "checks[" + strconv.Itoa(s.check) + "]"
	if s.field != "" {
		path += "." + s.field
	}
	return path
}

// failSyntax records that the document is not JSON where the scanner stands.
func (s *scanner) failSyntax(want string) {
	if s.pos >= len(s.data) {
		s.fail("the JSON ends too early, %s should follow", want)
		return
	}
	s.fail("not JSON at byte %d: %s should stand there, not %s", s.pos+1, want, quote(string(s.data[s.pos:s.pos+1])))
}

// failKind records that the next value is not of the kind that is wanted.
func (s *scanner) failKind(want string) {
	if kind := s.kind(); kind != "" {
		s.fail("must be %s, not %s", want, kind)
		return
	}
	s.failSyntax(want)
}

// kind names the kind of the next value, "" if there is none.
func (s *scanner) kind() string {
	switch c := s.peek(); {
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '-' || c >= '0' && c <= '9':
		return "a number"
	case bytes.HasPrefix(s.data[s.pos:], []byte("null")):
		return "null"
	case bytes.HasPrefix(s.data[s.pos:], []byte("true")), bytes.HasPrefix(s.data[s.pos:], []byte("false")):
		return "a boolean"
	}
	return ""
}

// peek passes over white space and returns the byte after it, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// eat passes over c if it comes next.
func (s *scanner) eat(c byte) bool {
	if s.err != nil || s.peek() != c || s.pos >= len(s.data) {
		return false
	}
	s.pos++
	return true
}

// member moves to the value of the next member of an object, of which n were
// read already, and sets name. It returns false at the end of the object.
func (s *scanner) member(n int) bool {
	if !s.next(n, '{', '}', "an object") {
		return false
	}
	if s.peek() != '"' {
		s.failSyntax("a field name in quotes")
		return false
	}
	s.name = s.str()
	if !s.eat(':') {
		s.failSyntax(`":"`)
		return false
	}
	return true
}

// element moves to the next element of an array, of which n were read already.
// It returns false at the end of the array.
func (s *scanner) element(n int) bool {
	return s.next(n, '[', ']', "an array")
}

func (s *scanner) next(n int, open, end byte, kind string) bool {
	switch {
	case s.err != nil:
		return false
	case n == 0 && !s.eat(open):
		s.failKind(kind)
		return false
	case n == 0:
		return !s.eat(end)
	case s.eat(','):
		return true
	case !s.eat(end):
		s.failSyntax(`"," or "` + string(end) + `"`)
	}
	return false
}

// end checks that nothing follows.
func (s *scanner) end() {
	if s.peek(); s.pos < len(s.data) {
		s.fail("something follows the JSON object, at byte %d", s.pos+1)
	}
}

// str reads a string. What it returns is valid until data changes.
func (s *scanner) str() []byte {
	if !s.eat('"') {
		s.failKind("a string")
		return nil
	}
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1]
		case c == '\\':
			return s.escapedStr(start)
		case !s.char():
			return nil
		}
	}
	s.failSyntax("a closing quote")
	return nil
}

// char passes over one character of a string that is neither quote nor escape.
func (s *scanner) char() bool {
	c := s.data[s.pos]
	if c < 0x20 {
		s.fail("has the control byte 0x%02X in a string, at byte %d", c, s.pos+1)
		return false
	}
	if c < utf8.RuneSelf {
		s.pos++
		return true
	}
	r, size := utf8.DecodeRune(s.data[s.pos:])
	if r == utf8.RuneError && size == 1 {
		s.fail("is not UTF-8 at byte %d", s.pos+1)
		return false
	}
	s.pos += size
	return true
}

// escapedStr goes on with a string that began at start and has come to its
// first escape.
func (s *scanner) escapedStr(start int) []byte {
	out := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		from := s.pos
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return out
		case c == '\\':
			r, ok := s.escape()
			if !ok {
				s.pos = from
				s.fail("has an escape in a string that stands for nothing, at byte %d", from+1)
				return nil
			}
			out = utf8.AppendRune(out, r)
		case !s.char():
			return nil
		default:
			out = append(out, s.data[from:s.pos]...)
		}
	}
	s.failSyntax("a closing quote")
	return nil
}

// escape reads one escape. Half of a surrogate pair is none: encoding/json
// would read it as U+FFFD, and every other half as the same.
func (s *scanner) escape() (rune, bool) {
	if s.pos+1 >= len(s.data) {
		return 0, false
	}
	c := s.data[s.pos+1]
	if c != 'u' {
		s.pos += 2
		i := bytes.IndexByte([]byte(`"\/bfnrt`), c)
		if i < 0 {
			return 0, false
		}
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := s.hex4()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	low, ok := s.hex4()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

// hex4 reads \uXXXX.
func (s *scanner) hex4() (rune, bool) {
	if len(s.data)-s.pos < 6 || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.data[s.pos+2 : s.pos+6] {
		d, ok := unhex(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	s.pos += 6
	return r, true
}

// count reads an integer between 0 and maxCount.
func (s *scanner) count() int64 {
	text := s.number()
	if s.err != nil {
		return 0
	}
	if text[0] == '-' {
		s.fail("%s must not be negative", clip(text))
		return 0
	}
	var n int64
	for _, c := range text {
		if c < '0' || c > '9' {
			s.fail("%s must be an integer, written in digits only", clip(text))
			return 0
		}
		if n = n*10 + int64(c-'0'); n > maxCount {
			s.fail("%s must be at most %d", clip(text), int64(maxCount))
			return 0
		}
	}
	return n
}

// number passes over a number and returns its text, which is not empty unless
// there was an error.
func (s *scanner) number() []byte {
	if s.err == nil && s.kind() != "a number" {
		s.failKind("an integer")
	}
	if s.err != nil {
		return nil
	}
	start := s.pos
	for s.pos < len(s.data) && bytes.IndexByte([]byte("+-.0123456789Ee"), s.data[s.pos]) >= 0 {
		s.pos++
	}
	text := s.data[start:s.pos]
	if !isNumber(text) {
		s.fail("%s is not a number in JSON", clip(text))
		return nil
	}
	return text
}

// isNumber reports whether text is a number by the grammar of JSON.
func isNumber(text []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		text = text[n:]
		return n > 0
	}
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	}
	if len(text) > 0 && text[0] == '0' {
		text = text[1:]
	} else if !digits() {
		return false
	}
	if len(text) > 0 && text[0] == '.' {
		text = text[1:]
		if !digits() {
			return false
		}
	}
	if len(text) > 0 && (text[0] == 'e' || text[0] == 'E') {
		text = text[1:]
		if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
			text = text[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(text) == 0
}

// clip makes a number of any length fit for a message.
func clip(text []byte) string {
	const most = 24
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}

// boolean reads true or false.
func (s *scanner) boolean() bool {
	if s.word("true") {
		return true
	}
	if !s.word("false") {
		s.failKind("a boolean")
	}
	return false
}

// word passes over a literal if it comes next.
func (s *scanner) word(w string) bool {
	s.peek()
	if s.err != nil || !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return false
	}
	s.pos += len(w)
	return true
}

// skip passes over a value of any kind.
func (s *scanner) skip(depth int) {
	if depth > maxDepth {
		s.fail("is nested more than %d deep", maxDepth)
		return
	}
	switch c := s.peek(); {
	case c == '"':
		s.str()
	case c == '{':
		for n := 0; s.member(n); n++ {
			s.skip(depth + 1)
		}
	case c == '[':
		for n := 0; s.element(n); n++ {
			s.skip(depth + 1)
		}
	case s.kind() == "a number":
		s.number()
	case s.word("true"), s.word("false"), s.word("null"):
	default:
		s.failSyntax("a value")
	}
}
