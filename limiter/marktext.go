package limiter

import (
	"strconv"
	"strings"
)

// The forms of a mark as text, which is how Redis keeps it; the scripts of
// package lua read and write the same. The first letter says whose it is:
//
//	AT  AT:FRAC           of a bucket; "m" or "s" behind it when AT is in
//	                      milliseconds or seconds and not in microseconds
//	wAT:LENGTH:THIS:LAST  of a sliding window
//	fEND:COUNT            of a fixed window
//
// Forms may only be added, because workers of several versions share marks.
const (
	widestMark    = 40 // bytes of a form, at most
	widestSliding = 72
)

// tickLetters say what a bucket is counted in.
var tickLetters = map[int64]string{1: "", 1e3: "m", 1e6: "s"}

// String returns the mark as text, "" for a full bucket.
func (m Mark) String() string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	switch m.form {
	case formBucket:
		if m.more[0] == 0 {
			return number(m.at) + tickLetters[m.tick]
		}
		return number(m.at) + ":" + number(m.more[0]) + tickLetters[m.tick]
	case formSliding:
		return "w" + number(m.at) + ":" + number(m.tick) + ":" + number(m.more[0]) + ":" + number(m.more[1])
	case formFixed:
		return "f" + number(m.at) + ":" + number(m.more[0])
	}
	return ""
}

// ParseMark is the inverse of [Mark.String]. What it cannot read is a full
// bucket, because a limiter that stops at a damaged bucket would never admit
// its key again. Numbers that no bucket has are read as very large ones.
func ParseMark(text string) Mark {
	switch {
	case len(text) > widestSliding || text == "":
		return Mark{}
	case text[0] == 'w':
		n, ok := markNumbers(text[1:], 4)
		if !ok {
			return Mark{}
		}
		m := Mark{form: formSliding, at: n[0], tick: n[1], more: [2]int64{n[2], n[3]}}
		m.Until = m.until()
		return m
	case len(text) > widestMark:
		return Mark{}
	case text[0] == 'f':
		n, ok := markNumbers(text[1:], 2)
		if !ok {
			return Mark{}
		}
		return Mark{form: formFixed, at: n[0], more: [2]int64{n[1]}, Until: n[0]}
	}
	return parseBucketMark(text)
}

func parseBucketMark(text string) Mark {
	tick := int64(1)
	switch text[len(text)-1] {
	case 'm':
		tick = 1e3
	case 's':
		tick = 1e6
	}
	if tick > 1 {
		text = text[:len(text)-1]
	}
	var n [4]int64
	var ok bool
	if at, frac, found := strings.Cut(text, ":"); found && frac != "" {
		n, ok = markNumbers(text, 2)
	} else {
		n, ok = markNumbers(at, 1)
	}
	if !ok {
		return Mark{}
	}
	m := Mark{form: formBucket, at: min(n[0], hugeMark/tick), more: [2]int64{n[1]}, tick: tick}
	m.Until = m.until()
	return m
}

// hugeMark is more than any number of a mark, and four of it do not overflow.
const hugeMark = 1 << 60

// markNumbers reads so many decimal numbers with colons between them.
func markNumbers(text string, count int) (n [4]int64, ok bool) {
	for i := range count {
		field := text
		if i < count-1 {
			if field, text, ok = strings.Cut(text, ":"); !ok {
				return n, false
			}
		}
		if field == "" {
			return n, false
		}
		for j := range len(field) {
			digit := int64(field[j]) - '0'
			if digit < 0 || digit > 9 {
				return n, false
			}
			if n[i] < hugeMark/16 {
				n[i] = n[i]*10 + digit
			} else {
				n[i] = hugeMark
			}
		}
	}
	return n, true
}
