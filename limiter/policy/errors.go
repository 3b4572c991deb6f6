package policy

import (
	"fmt"
	"strings"
)

// MaxErrors bounds how many errors of one document are reported.
const MaxErrors = 50

// Error is one thing that is wrong in a document.
type Error struct {
	// Name is the name of the document, such as policies.yaml.
	Name string

	// Line and Column count from 1, in characters. Line is 0 when the
	// error is about the document as a whole.
	Line, Column int

	// Message says what is wrong and what to do, on one line.
	Message string

	// Source is the line, without its end. Column counts in it.
	Source string
}

// Error writes the error for people, with the line and a mark under the column
// if it is about a line:
//
//	policies.yaml:7:11: rate: 0 must be between 1 and 9007199254740992
//	   7 |     rate: 0
//	     |           ^
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Name + ": " + e.Message
	}
	head := fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Message)
	line, at := window(e.Source, e.Column-1)
	return fmt.Sprintf("%s\n%4d | %s\n     | %s^", head, e.Line, line, strings.Repeat(" ", at))
}

// window returns what is shown of a line, and where in it the character at is:
// a line can be as long as the document, and hold what confuses a terminal.
func window(line string, at int) (string, int) {
	const width = 100
	runes := []rune(line)
	at = max(0, min(at, len(runes)))
	if from := at - width/2; len(runes) > width && from > 0 {
		runes, at = runes[from:], at-from
	}
	runes = runes[:min(len(runes), width)]
	return printable(string(runes)), at // each character takes one column, so that the mark fits
}

// Errors is what Parse returns for a document that cannot be used: all that
// is wrong with it, in the order of its lines. It is never empty.
type Errors []*Error

// Error returns the errors one after the other.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single errors.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}
