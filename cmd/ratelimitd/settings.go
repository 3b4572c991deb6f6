package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/agnivade/levenshtein"
)

// setting is what the tags of a field of Config say.
type setting struct {
	field  string // of Config
	name   string // of the variable
	def    string
	doc    string
	secret bool
}

// settings returns all of them, in the order of Config.
func settings() []setting {
	var all []setting
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		f := t.Field(i)
		all = append(all, setting{
			field:  f.Name,
			name:   f.Tag.Get("env"),
			def:    f.Tag.Get("envDefault"),
			doc:    f.Tag.Get("doc"),
			secret: f.Tag.Get("secret") == "true",
		})
	}
	return all
}

func settingOf(field string) (setting, bool) {
	for _, s := range settings() {
		if s.field == field {
			return s, true
		}
	}
	return setting{}, false
}

// readFile sets a secret from the file that NAME_FILE names, without the line
// break that editors leave at the end.
func (s *setting) readFile(vars map[string]string) error {
	path := vars[s.name+"_FILE"]
	if !s.secret || path == "" {
		return nil
	}
	if vars[s.name] != "" {
		return fmt.Errorf("%s and %s_FILE are both set; set one of them", s.name, s.name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s_FILE names a file that cannot be read: %w", s.name, err)
	}
	vars[s.name] = strings.TrimRight(string(text), "\r\n")
	return nil
}

// printConfig writes the effective settings and where each came from.
func printConfig(w io.Writer, environ []string, cfg Config) error {
	set := make(map[string]string)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		set[name] = value
	}
	v := reflect.ValueOf(cfg)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SETTING\tVALUE\tFROM")
	for _, s := range settings() {
		from := "default"
		switch {
		case set[s.name] != "":
			from = "environment"
		case s.secret && set[s.name+"_FILE"] != "":
			from = "file " + set[s.name+"_FILE"]
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", s.name, s.show(v.FieldByName(s.field)), from)
	}
	return tw.Flush()
}

// show formats a value for a person who may not know the secrets.
func (s *setting) show(v reflect.Value) string {
	if l, ok := v.Interface().(limit); ok {
		if l.rule == nil {
			return "-"
		}
		return l.rule.Limit().String()
	}
	text := fmt.Sprint(v.Interface())
	switch {
	case text == "":
		return "-"
	case s.secret && strings.Contains(text, "://"):
		return redactURLs(text)
	case s.secret:
		return "(hidden)"
	}
	return text
}

// redactURLs removes the user information from URLs with commas between them.
func redactURLs(list string) string {
	urls := strings.Split(list, ",")
	for i, u := range urls {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "", u
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = "(hidden)@" + rest[at+1:]
		}
		if q := strings.IndexByte(rest, '?'); q >= 0 {
			rest = rest[:q] + "?(hidden)"
		}
		if ok {
			rest = scheme + "://" + rest
		}
		urls[i] = rest
	}
	return strings.Join(urls, ",")
}

// settingsTable writes the README's table of settings, in Markdown.
func settingsTable(w io.Writer) {
	fmt.Fprintln(w, "| variable | default | what it does |")
	fmt.Fprintln(w, "|---|---|---|")
	for _, s := range settings() {
		def, doc := "", s.doc
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		if s.secret {
			doc += " Or `" + s.name + "_FILE`."
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", s.name, def, doc)
	}
}

// nearest returns the name that is most like the given one, or "" if none is
// like enough: at most a third of the letters behind RATELIMIT_ may differ.
func nearest(name string, names []string) string {
	best, distance := "", (len(name)-len("RATELIMIT_"))/3+1
	for _, n := range names {
		if d := levenshtein.ComputeDistance(name, n); d < distance {
			best, distance = n, d
		}
	}
	return best
}
