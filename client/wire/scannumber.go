package wire

import "bytes"

// maxCount bounds the numbers of a message: 2^53, the last integer up to which
// every JSON reader in the world is exact.
const maxCount = 1 << 53

// count reads an integer between 0 and maxCount.
func (s *scanner) count() int64 {
	s.peek()
	var n int64
	i := s.pos
	for i < len(s.data) && s.data[i] >= '0' && s.data[i] <= '9' && n <= maxCount {
		n = n*10 + int64(s.data[i]-'0')
		i++
	}
	alone := i == len(s.data) || !numeric(s.data[i])
	leadingZero := i > s.pos+1 && s.data[s.pos] == '0'
	if s.err != nil || i == s.pos || !alone || leadingZero || n > maxCount {
		s.failCount()
		return 0
	}
	s.pos = i
	return n
}

// failCount says why count refused what stands there.
func (s *scanner) failCount() {
	text := s.number()
	switch {
	case s.err != nil:
	case text[0] == '-':
		s.fail("%s must not be negative", clip(text))
	case bytes.ContainsAny(text, ".eE"):
		s.fail("%s must be an integer, written in digits only", clip(text))
	default:
		s.fail("%s must be at most %d", clip(text), int64(maxCount))
	}
}

// numeric reports whether c can stand in a number.
func numeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
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
	for s.pos < len(s.data) && numeric(s.data[s.pos]) {
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
