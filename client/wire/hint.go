package wire

import (
	"strconv"
	"strings"
)

// hint says what to write instead of the unknown field that was found last.
func (s *scanner) hint() string {
	known := fields[:]
	if s.check >= 0 {
		known = known[:checkFields]
	}
	got := strings.ToLower(string(s.name))
	best, nearest := 3, ""
	for _, name := range known {
		if d := distance(got, name); d < best && d < len(name) {
			best, nearest = d, name
		}
	}
	if nearest != "" {
		return "; did you mean " + strconv.Quote(nearest) + "?"
	}
	return "; there are " + strings.Join(known, ", ")
}

// distance is how many letters must be added, dropped, changed or swapped with
// their neighbor to make b of a. Words whose lengths differ by more than 2 are
// taken to be far apart.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return len(a) + len(b)
	}
	var rows [3][]int
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above := rows[i%3], rows[(i-1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			d := above[j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[(i-2)%3][j-2]+1)
			}
			row[j] = d
		}
	}
	return rows[len(a)%3][len(b)]
}
