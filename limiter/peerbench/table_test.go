package peerbench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// figure is what came of one measurement.
type figure struct {
	perSecond float64 // checks decided
	failed    float64 // the share of the others
}

// table has the figures of one comparison.
type table struct {
	peers    []Peer
	admitted []string     // of eight that were asked of a limit of five
	figures  [][][]figure // [peer][column][round]
}

func newTable(peers []Peer) *table {
	t := &table{peers: peers, figures: make([][][]figure, len(peers))}
	for i := range t.figures {
		t.figures[i] = make([][]figure, len(columns()))
	}
	return t
}

func (t *table) add(row, column int, f figure) {
	t.figures[row][column] = append(t.figures[row][column], f)
}

// print writes the table. The first peer is 1, with its checks per second; of
// the others there is the median over the rounds of the ratio to it in the
// same round, and the least and the greatest. A share of checks that failed is
// the median too.
func (t *table) print(w io.Writer) {
	head, line := "| | rule | limit of 5 | of 8, 8 |", "|---|---|---|---|"
	for _, l := range columns() {
		head += fmt.Sprintf(" c=%d %s |", l.callers, l.draw.name)
		line += "---|"
	}
	fmt.Fprintln(w, head)
	fmt.Fprintln(w, line)
	for row, p := range t.peers {
		cells := []string{p.Name, p.Rule, p.Says, t.admitted[row]}
		for column := range columns() {
			cells = append(cells, t.cell(row, column))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func (t *table) cell(row, column int) string {
	all, base := t.figures[row][column], t.figures[0][column]
	var perSecond, ratios, failed []float64
	for round, f := range all {
		perSecond = append(perSecond, f.perSecond)
		ratios = append(ratios, f.perSecond/base[round].perSecond)
		failed = append(failed, f.failed)
	}
	if row == 0 {
		median, _, _ := spread(perSecond)
		if median >= 1e6 {
			return fmt.Sprintf("1 = %.3gM/s", median/1e6)
		}
		return fmt.Sprintf("1 = %.3gk/s", median/1e3)
	}
	median, least, most := spread(ratios)
	text := fmt.Sprintf("%.2f (%.2f-%.2f)", median, least, most)
	if share, _, _ := spread(failed); share > 0 {
		text += fmt.Sprintf(", %.2g %% failed", 100*share)
	}
	return text
}

// spread returns the median, the least and the greatest.
func spread(all []float64) (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]
}
