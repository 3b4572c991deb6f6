package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

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
		case c >= 0x20 && c < utf8.RuneSelf:
			s.pos++
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
		s.fail("the string has the control byte 0x%02X, at byte %d", c, s.pos+1)
		return false
	}
	if c < utf8.RuneSelf {
		s.pos++
		return true
	}
	r, size := utf8.DecodeRune(s.data[s.pos:])
	if r == utf8.RuneError && size == 1 {
		s.fail("the string is not UTF-8, at byte %d", s.pos+1)
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
				s.fail("the string has an escape that stands for nothing, at byte %d", from+1)
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
