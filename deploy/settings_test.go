// Package deploy_test holds the files of this folder to what they say: real
// servers read them, and the programs work under the rights that they give.
package deploy_test

import (
	"os"
	"strings"
	"testing"
)

// settings returns the lines of a configuration file that count: those that
// are in force, or those that it offers to the reader behind "#: ".
func settings(t *testing.T, path string, offered bool) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.SplitSeq(string(text), "\n") {
		line, offer := strings.CutPrefix(line, "#: ")
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		if offer == offered && line != "" && !comment {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s has no such lines", path)
	}
	return lines
}
