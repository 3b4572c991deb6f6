package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxSize bounds a document, in bytes. A hundred thousand policies of two
// lines take 5 MB.
const MaxSize = 8 << 20

// place is where something stands in a document. The column counts
// characters. The zero value is the document as a whole.
type place struct{ line, column int }

// document is a text on its way to becoming a Set, with what was found wrong
// in it so far.
type document struct {
	name  string
	lines []string
	errs  Errors
}

// newDocument prepares the text, and reports false if it is not to be read at
// all.
func newDocument(name string, text []byte) (*document, bool) {
	d := &document{name: name}
	if len(text) > MaxSize {
		d.fail(place{}, "the document has %d bytes and must have at most %d; put customers that differ only in their limits into plans", len(text), MaxSize)
		return d, false
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	d.lines = strings.Split(string(text), "\n")
	for i, line := range d.lines {
		line = strings.TrimSuffix(line, "\r")
		d.lines[i] = line
		if at := strings.IndexFunc(line, unfit); at >= 0 || !utf8.ValidString(line) {
			at = max(at, 0)
			d.fail(place{i + 1, utf8.RuneCountInString(line[:at]) + 1}, "the line holds bytes that are not text in UTF-8, or control characters")
		}
	}
	return d, len(d.errs) == 0
}

func unfit(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError
}

// fail records an error. It returns false, for use in conditions.
func (d *document) fail(at place, format string, args ...any) bool {
	if d.full() {
		return false
	}
	e := &Error{Name: d.name, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	if at.line > 0 && at.line <= len(d.lines) {
		e.Source = d.lines[at.line-1]
	}
	d.errs = append(d.errs, e)
	return false
}

// full reports whether there are so many errors that no more are recorded.
func (d *document) full() bool { return len(d.errs) >= MaxErrors }

// err returns what was found wrong, nil if nothing was.
func (d *document) err() error {
	if len(d.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if d.full() {
		d.errs = append(d.errs, &Error{Name: d.name, Message: fmt.Sprintf("there may be more than these %d errors", MaxErrors)})
	}
	return d.errs
}

// section is what stands under one of the fields of the document.
type section struct {
	key   string
	place place

	// entries are the lines of each entry, for a section whose entries are
	// on lines of their own. Otherwise inline is what all of it is in.
	entries []span
	inline  span
}

// span is a range of lines, the first counted from 0.
type span struct{ from, to int }

// sections divides the document by the indentation of its lines, which in
// YAML tells where the entries of a list begin whatever they hold: all that
// belongs to an entry is indented further. So a document can be long while
// what the YAML library sees at a time is short, which matters because its
// time grows with the square of the fields and its memory is fifty times the
// text. It also makes that an error in one entry does not hide the others.
func (d *document) sections() []section {
	var all []section
	from := d.content(0)
	if from < len(d.lines) && strings.HasPrefix(d.lines[from], "---") && strings.TrimSpace(bare(d.lines[from][3:])) == "" {
		from = d.content(from + 1) // the customary first line
	}
	if from < len(d.lines) && d.lines[from][0] == '{' {
		return []section{{inline: span{from, len(d.lines)}, place: place{from + 1, 1}}}
	}
	for from < len(d.lines) {
		to := d.content(from + 1)
		key, alone := strings.CutSuffix(strings.TrimRight(bare(d.lines[from]), " \t"), ":")
		alone = alone && strings.IndexFunc(key, notLetter) < 0
		for to < len(d.lines) && (indent(d.lines[to]) > 0 || alone && item(d.lines[to])) {
			to = d.content(to + 1)
		}
		s := section{key: key, place: place{from + 1, 1}}
		if alone {
			s.entries = d.entries(span{from + 1, to})
		} else {
			s.inline = span{from, to}
		}
		all = append(all, s)
		from = to
	}
	return all
}

func (d *document) entries(s span) []span {
	var all []span
	from := d.content(s.from)
	for from < s.to {
		if in, want := indent(d.lines[from]), indent(d.lines[d.content(s.from)]); in != want {
			d.fail(place{from + 1, in + 1}, "this line is indented by %d spaces and must be by %d, like the entries above", in, want)
		}
		to := d.content(from + 1)
		for to < s.to && indent(d.lines[to]) > indent(d.lines[from]) {
			to = d.content(to + 1)
		}
		all = append(all, span{from, to})
		from = to
	}
	return all
}

// content returns the first line from i on that is not empty or a comment.
func (d *document) content(i int) int {
	for i < len(d.lines) {
		line := strings.TrimLeft(d.lines[i], " \t")
		if line != "" && line[0] != '#' {
			break
		}
		i++
	}
	return i
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// item reports whether the line begins an item of a list without indentation.
func item(line string) bool { return line == "-" || strings.HasPrefix(line, "- ") }

// bare returns the line without a comment at its end. A # within quotes is
// taken for one, which is right for all that is done with the result.
func bare(line string) string {
	if i := strings.Index(line, " #"); i >= 0 {
		return line[:i]
	}
	return line
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' }
