package memstore

// slab holds the records of one size, one behind the other and without holes:
// the last one moves to where one is dropped. They lie in chunks, so that a
// slab grows and shrinks without being copied, in memory that the garbage
// collector need not look into.
type slab struct {
	size   int // bytes of a record
	n      uint32
	chunks [][]byte
}

const (
	chunkBits    = 8 // with 256 records, chunks of most sizes waste nothing
	chunkRecords = 1 << chunkBits
	firstRecords = 8 // of a slab whose only chunk still grows
)

func (s *slab) at(i uint32) record {
	from := int(i%chunkRecords) * s.size
	return s.chunks[i>>chunkBits][from : from+s.size : from+s.size]
}

// push adds a record, whose content is undefined, and returns its number.
func (s *slab) push() uint32 {
	i := s.n
	s.n++
	switch c := int(i >> chunkBits); {
	case c > 0 && c == len(s.chunks):
		s.chunks = append(s.chunks, make([]byte, chunkRecords*s.size))
	case c == 0 && len(s.chunks) == 0:
		s.chunks = [][]byte{make([]byte, firstRecords*s.size)}
	case c == 0 && int(i)*s.size == len(s.chunks[0]):
		larger := make([]byte, 2*len(s.chunks[0]))
		copy(larger, s.chunks[0])
		s.chunks[0] = larger
	}
	return i
}

// drop removes a record. It returns the number of the record that moved to its
// place, which is i itself if none did.
func (s *slab) drop(i uint32) (moved uint32) {
	last := s.n - 1
	if i != last {
		copy(s.at(i), s.at(last))
	}
	s.n = last
	// One empty chunk is kept for those who come and go at its edge.
	if end := len(s.chunks) - 1; last == 0 {
		s.chunks = nil
	} else if end > 0 && int(last) <= (end-1)*chunkRecords {
		s.chunks[end] = nil
		s.chunks = s.chunks[:end]
	}
	return last
}

// bytes returns how much memory the slab has.
func (s *slab) bytes() (sum int) {
	for _, c := range s.chunks {
		sum += len(c)
	}
	return sum
}
