package wire

import (
	"bytes"
	"strconv"
)

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

	// checkSpace is where the checks of a request may go.
	checkSpace []Request
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
