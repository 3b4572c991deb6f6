package main

import (
	"fmt"
	"html"
	"os"
	"strings"
)

// picture is where the plot goes, beside the document.
const picture = "deploy/performance.svg"

// Sizes of the plot, in pixels: a line has its name on the left, then a bar.
const (
	lineHeight = 26
	nameWidth  = 440
	barWidth   = 160 // of a bar that meets its target exactly
	longest    = 2.5 // bars, where it is cut
	plotWidth  = nameWidth + int(longest*barWidth) + 20
)

// bar is one figure as the plot has it.
type bar struct {
	name  string // of row and figure
	value string
	score float64 // 1 meets the target, more is better
}

// svg draws the bars, and a line where the targets are. It names its own colors
// for light and for dark pages.
func svg(bars []bar) string {
	var b strings.Builder
	height := (len(bars) + 2) * lineHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img" aria-label="Figures in proportion to their targets">
<style>
  text { fill: #1f2328 } .met { fill: #2da44e } .missed { fill: #bf8700 } line { stroke: #656d76; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .met { fill: #3fb950 } .missed { fill: #d29922 } line { stroke: #8b949e } }
</style>
`, plotWidth, height)
	target := nameWidth + barWidth
	fmt.Fprintf(&b, `<text x="%d" y="16" text-anchor="middle">target; longer is better</text>`+"\n", target)
	for i, one := range bars {
		y := (i + 1) * lineHeight
		class := "met"
		if one.score < 1 {
			class = "missed"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", nameWidth-8, y+16, html.EscapeString(one.name))
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.0f" height="%d" rx="2"/>`+"\n", class, nameWidth, y+3, min(one.score, longest)*barWidth, lineHeight-8)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", nameWidth+6, y+16, html.EscapeString(one.value))
	}
	fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="22" y2="%d"/>`+"\n</svg>\n", target, target, height-lineHeight/2)
	return b.String()
}

// plot writes the figures of the table as a picture.
func (t *table) plot(file string) error {
	return os.WriteFile(file, []byte(svg(t.bars)), 0o644)
}
