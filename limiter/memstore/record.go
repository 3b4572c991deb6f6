package memstore

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/quotaworker/ratelimit/limiter"
)

// A record is one bucket in memory:
//
//	1 byte   the length of the key
//	2 bytes  the number of the limit's name, see names
//	         the key
//	         the packed mark, see limiter.Mark.Pack
//
// and room up to the next multiple of sizeStep. A key that is longer than the
// longest, or a limit whose name has no number, are written as one digest of
// both with the name 0.
type record []byte

const (
	recordHead = 3
	longestKey = 255
	sizeStep   = 8

	// classes is how many sizes of records there are, the size 0 included.
	classes = (recordHead+longestKey+limiter.MaxPackedMark+sizeStep-1)/sizeStep + 1
)

// bucket names a bucket as records do.
type bucket struct {
	key  string // its own, or a digest
	name uint16
	tag  uint32 // of the hash of the bucket
}

// digest returns the key of a bucket that cannot be written out: a SHA-256, of
// which nobody has yet found two that are alike.
func digest(key, name string) string {
	text := make([]byte, 0, 1+len(name)+len(key)) // MaxNameLength fits a byte
	text = append(text, byte(len(name)))
	text = append(text, name...)
	sum := sha256.Sum256(append(text, key...))
	return string(sum[:])
}

// classOf returns the class of the records that hold such a key and mark.
func classOf(key string, mark int) uint32 {
	return uint32(recordHead+len(key)+mark+sizeStep-1) / sizeStep
}

func (r record) is(b *bucket) bool {
	return int(r[0]) == len(b.key) && r.name() == b.name && string(r.key()) == b.key
}

func (r record) name() uint16 { return binary.LittleEndian.Uint16(r[1:]) }

func (r record) key() []byte { return r[recordHead : recordHead+int(r[0])] }

func (r record) mark() limiter.Mark { return limiter.UnpackMark(r[recordHead+int(r[0]):]) }

// setMark writes another mark and reports whether there was room for it.
func (r record) setMark(mark []byte) bool {
	at := recordHead + int(r[0])
	if at+len(mark) > len(r) {
		return false
	}
	copy(r[at:], mark)
	return true
}

// fill writes the whole record.
func (r record) fill(b *bucket, mark []byte) {
	r[0] = byte(len(b.key))
	binary.LittleEndian.PutUint16(r[1:], b.name)
	copy(r[recordHead:], b.key)
	r.setMark(mark)
}
