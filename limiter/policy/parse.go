package policy

// Parse reads a document. The name stands before each error, and is best the
// file name. The error is of type [Errors]; with it there is no set. It takes
// about two seconds for a hundred thousand policies, and at most some seconds
// for the worst there is.
func Parse(name string, text []byte) (*Set, error) {
	d, ok := newDocument(name, text)
	if !ok {
		return nil, d.err()
	}
	b := newBuilder(d)
	sections := d.sections()
	if len(sections) == 0 {
		d.fail(place{}, "the document is empty; it must have policies, and to have none on purpose is written policies: []")
	}
	for _, s := range sections {
		if d.full() {
			break
		}
		d.section(s, b)
	}
	set := b.build()
	if err := d.err(); err != nil {
		return nil, err
	}
	return set, nil
}

const sectionNames = "plans, policies, overrides"

func (d *document) section(s section, b *builder) {
	if s.inline != (span{}) {
		v := d.read(s.inline, maxInlineSize)
		if v == nil {
			return
		}
		if v.kind != kindFields {
			d.fail(v.place, "a document must have fields (%s), and this is %s", sectionNames, v)
			return
		}
		for _, f := range v.fields {
			switch {
			case !b.begin(f.name.text, f.name.place):
			case f.value.kind == kindEmpty:
				d.empty(f.name.text, f.value.place)
			case f.name.text == "plans":
				d.entry(f.name.text, f.value, b)
			case f.value.kind != kindList:
				d.fail(f.value.place, "%s: must be a list, and this is %s", f.name.text, f.value)
			default:
				d.entry(f.name.text, f.value, b)
			}
		}
		return
	}
	if !b.begin(s.key, s.place) {
		return
	}
	if len(s.entries) == 0 {
		d.empty(s.key, s.place)
	}
	for _, e := range s.entries {
		if d.full() {
			return
		}
		if v := d.read(e, maxEntrySize); v != nil {
			d.entry(s.key, v, b)
		}
	}
}

func (d *document) empty(key string, at place) {
	d.fail(at, "%s: there is nothing here; leave it out, or write [] or {} to have none on purpose", key)
}

// entry adds what is in one or more entries of a section.
func (d *document) entry(key string, v *value, b *builder) {
	if key == "plans" {
		if v.kind != kindFields {
			d.fail(v.place, "plans: must be names with limits each, as in free: 10/s, and this is %s", v)
			return
		}
		for _, f := range v.fields {
			b.plan(f)
		}
		return
	}
	if v.kind != kindList {
		d.fail(v.place, "%s: must be a list, each of whose entries begins with a dash, as in - match: user.*", key)
		return
	}
	for _, item := range v.list {
		if key == "policies" {
			b.policy(item)
		} else {
			b.override(item)
		}
	}
}
