package limiter

import "encoding/binary"

// A packed mark is what a store in memory keeps, which has millions of them.
// It is a byte that says how to read the rest (the form, the tick of a bucket
// and how wide the numbers are), the moment in 8 bytes, and what the form has
// besides, each in the fewest of 0, 4 or 8 bytes that hold all of them. Nobody
// but the process that wrote it reads it.

// MaxPackedMark is the length of the longest packed mark, in bytes. Most
// buckets have one of 9.
const MaxPackedMark = 1 + 8 + 3*8

// Pack writes the mark into b and returns how many bytes it took.
func (m Mark) Pack(b *[MaxPackedMark]byte) int {
	rest, count := m.rest()
	var all uint64
	for _, n := range rest[:count] {
		all |= uint64(n)
	}
	b[0] = byte(m.form)
	if m.form == formBucket && m.tick > 1 {
		b[0] |= 1 << tickShift
		if m.tick == 1e6 {
			b[0] |= 2 << tickShift
		}
	}
	binary.LittleEndian.PutUint64(b[1:], uint64(m.at))
	switch {
	case all == 0:
		return 9
	case all < 1<<32:
		b[0] |= 1 << widthShift
		for i, n := range rest[:count] {
			binary.LittleEndian.PutUint32(b[9+4*i:], uint32(n))
		}
		return 9 + 4*count
	}
	b[0] |= 2 << widthShift
	for i, n := range rest[:count] {
		binary.LittleEndian.PutUint64(b[9+8*i:], uint64(n))
	}
	return 9 + 8*count
}

// UnpackMark is the inverse of Pack. Bytes behind the mark are not looked at.
func UnpackMark(b []byte) Mark {
	m := Mark{form: form(b[0] & formMask), at: int64(binary.LittleEndian.Uint64(b[1:]))}
	if m.form == formBucket {
		m.tick = [4]int64{1, 1e3, 0, 1e6}[b[0]>>tickShift&3]
	}
	if width := b[0] >> widthShift; width > 0 {
		rest, count := m.rest()
		for i := range rest[:count] {
			if width == 1 {
				rest[i] = int64(binary.LittleEndian.Uint32(b[9+4*i:]))
			} else {
				rest[i] = int64(binary.LittleEndian.Uint64(b[9+8*i:]))
			}
		}
		m.more = [2]int64(rest[:])
		if m.form == formSliding {
			m.tick = rest[2]
		}
	}
	m.Until = m.until()
	return m
}

const (
	formMask   = 3
	tickShift  = 2 // 0 for a microsecond, 1 for a millisecond, 3 for a second
	widthShift = 4 // 0 for no numbers, 1 for 4 bytes each, 2 for 8
)

// rest returns the numbers that a form has besides at, and how many these are.
func (m *Mark) rest() (n [3]int64, count int) {
	switch m.form {
	case formSliding:
		return [3]int64{m.more[0], m.more[1], m.tick}, 3
	case formFixed, formBucket:
		return [3]int64{m.more[0]}, 1
	}
	return n, 0
}

// until works out Until from the rest.
func (m *Mark) until() int64 {
	switch m.form {
	case formBucket:
		if m.more[0] > 0 {
			return (m.at + 1) * m.tick
		}
		return m.at * m.tick
	case formSliding:
		if m.more[0] > 0 {
			return m.at + 2*m.tick
		}
		return m.at + m.tick
	}
	return m.at
}
