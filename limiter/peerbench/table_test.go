package peerbench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// table has the figures of one comparison: for each peer and load, the checks
// per second of each round.
type table struct {
	peers    []Peer
	admitted []string      // of eight that were asked of a limit of five
	figures  [][][]float64 // [peer][column][round]
}

func newTable(peers []Peer) *table {
	t := &table{peers: peers, figures: make([][][]float64, len(peers))}
	for i := range t.figures {
		t.figures[i] = make([][]float64, len(columns()))
	}
	return t
}

func (t *table) add(row, column int, perSecond float64) {
	t.figures[row][column] = append(t.figures[row][column], perSecond)
}

// print writes the table. The first peer is 1, with its thousands of checks
// per second; of the others there is the median over the rounds of the ratio
// to it in the same round, and the least and the greatest.
func (t *table) print(w io.Writer) {
	head, line := "| | rule | limit of 5 | of 8 |", "|---|---|---|---|"
	for _, l := range columns() {
		head += fmt.Sprintf(" c=%d %s |", l.callers, l.draw.name)
		line += "---|"
	}
	fmt.Fprintln(w, head)
	fmt.Fprintln(w, line)
	for row, p := range t.peers {
		cells := []string{p.Name, p.Rule, p.Says, t.admitted[row]}
		for column, all := range t.figures[row] {
			if row == 0 {
				median, _, _ := spread(all)
				cells = append(cells, fmt.Sprintf("1 = %.*fk/s", max(0, 1-int(median/100_000)), median/1000))
				continue
			}
			ratios := make([]float64, len(all))
			for round := range all {
				ratios[round] = all[round] / t.figures[0][column][round]
			}
			median, least, most := spread(ratios)
			cells = append(cells, fmt.Sprintf("%.2f (%.2f-%.2f)", median, least, most))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func spread(all []float64) (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]
}
