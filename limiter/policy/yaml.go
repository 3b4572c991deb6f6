package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of what is given to the YAML library at a time. Its time grows with
// the square of the fields that are on lines of their own, its stack with the
// depth, and its memory is two hundred times the text.
const (
	maxEntrySize  = 64 << 10 // bytes of an entry
	maxInlineSize = 1 << 20  // bytes of what is not divided, such as JSON
	maxFields     = 1000     // fields and list items on lines of their own
	maxDepth      = 32       // of [ and {
)

// value is a node of a YAML document: text, a list, or fields, and none of
// these if nothing is given.
type value struct {
	place  place
	kind   kind
	text   string // as written, without quotes
	quoted bool
	list   []*value
	fields []field
}

type field struct{ name, value *value }

type kind uint8

const (
	kindEmpty kind = iota
	kindText
	kindList
	kindFields
)

// String describes the value for a message.
func (v *value) String() string {
	switch v.kind {
	case kindEmpty:
		return "nothing"
	case kindList:
		return "a list"
	case kindFields:
		return "a mapping"
	}
	if len(v.text) > 64 {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(v.text[:64], ""))
	}
	return fmt.Sprintf("%q", v.text)
}

// read returns what the lines say, which may have at most as many bytes. It
// returns nil when they cannot be read, which is recorded.
func (d *document) read(s span, most int) (v *value) {
	src := strings.Join(d.lines[s.from:s.to], "\n")
	at := place{s.from + 1, indent(d.lines[s.from]) + 1}
	if len(src) > most {
		d.fail(at, "this part has %d bytes and must have at most %d; give each policy an entry of its own, on lines that begin with a dash", len(src), most)
		return nil
	}
	// The input is anybody's, the library is not ours, and a fault in it must
	// not take the service down.
	defer func() {
		if r := recover(); r != nil {
			d.fail(at, "this cannot be read as YAML; write it in a simpler way")
			v = nil
		}
	}()
	tokens := lexer.Tokenize(src)
	if !d.plain(tokens, s) {
		return nil
	}
	// What is given twice is found later, with the others.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	var bad yaml.Error
	switch {
	case errors.As(err, &bad) && bad.GetToken() != nil:
		d.fail(placeOf(bad.GetToken(), s), "this cannot be read as YAML: %s", printable(bad.GetMessage()))
		return nil
	case err != nil || len(file.Docs) != 1 || file.Docs[0].Body == nil:
		d.fail(at, "this cannot be read as YAML")
		return nil
	}
	return d.convert(file.Docs[0].Body, s)
}

// plain reports whether the tokens are those of a document without anchors and
// the like, and few enough for the parser.
func (d *document) plain(tokens token.Tokens, s span) bool {
	var open []bracket
	entries, before := 0, token.UnknownType
	for _, t := range tokens {
		at := placeOf(t, s)
		var in *bracket
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		switch t.Type {
		case token.InvalidType:
			return d.fail(at, "this cannot be read as YAML: %s", printable(t.Error))
		case token.AnchorType, token.MergeKeyType:
			return d.fail(at, "anchors are not supported; for what is used twice, make a plan or inherit from a policy")
		case token.AliasType:
			return d.fail(at, "this is a YAML alias, which is not supported; a pattern that begins with * must be in quotes")
		case token.LiteralType, token.FoldedType:
			return d.fail(at, "this begins a block of text in YAML; a pattern that begins with > must be in quotes")
		case token.TagType, token.DirectiveType:
			return d.fail(at, "YAML tags and directives are not supported; leave them out")
		case token.MappingKeyType:
			return d.fail(at, "keys with a question mark are not supported; write them as key: value")
		case token.DocumentHeaderType, token.DocumentEndType:
			return d.fail(at, "there must be one document only; leave out the lines --- and ... between")
		case token.MappingValueType, token.SequenceEntryType:
			if in != nil {
				in.value = true
			} else if entries++; entries > maxFields {
				return d.fail(at, "the entry has more than %d fields", maxFields)
			}
		case token.MappingStartType, token.SequenceStartType:
			if open = append(open, bracket{mapping: t.Type == token.MappingStartType}); len(open) > maxDepth {
				return d.fail(at, "this is nested more than %d deep", maxDepth)
			}
		case token.CollectEntryType, token.MappingEndType, token.SequenceEndType:
			// No field may be empty, and the parser is slow for those.
			if in != nil && (before == token.MappingValueType || in.mapping && !in.value && before != token.MappingStartType && before != token.CollectEntryType) {
				return d.fail(at, "the field before this has no value")
			}
			if in != nil && t.Type == token.CollectEntryType {
				in.value = false
			} else if in != nil {
				open = open[:len(open)-1]
			}
		}
		if t.Type != token.CommentType {
			before = t.Type
		}
	}
	return true
}

// bracket is a { or a [ that is not closed yet.
type bracket struct {
	mapping bool
	value   bool // whether a : came since the last comma
}

// printable takes out of a message of the library what it quotes as it is.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func (d *document) convert(n ast.Node, s span) *value {
	v := &value{place: placeOf(n.GetToken(), s)}
	switch n := n.(type) {
	case *ast.MappingNode:
		v.kind = kindFields
		for _, f := range n.Values {
			name := d.convert(f.Key, s)
			v.fields = append(v.fields, field{name, d.convert(f.Value, s)})
		}
		if len(v.fields) > 0 && !n.IsFlowStyle {
			v.place = v.fields[0].name.place
		}
	case *ast.SequenceNode:
		v.kind = kindList
		for _, item := range n.Values {
			v.list = append(v.list, d.convert(item, s))
		}
	case *ast.NullNode:
	case ast.ScalarNode:
		t := n.GetToken()
		v.kind, v.text = kindText, t.Value
		v.quoted = slices.Contains([]token.Type{token.SingleQuoteType, token.DoubleQuoteType}, t.Type)
	default:
		d.fail(v.place, "this cannot be read as YAML")
	}
	return v
}

// placeOf returns where in the document a token of the span stands.
func placeOf(t *token.Token, s span) place {
	return place{s.from + t.Position.Line, t.Position.Column}
}
