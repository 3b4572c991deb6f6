package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(p.stdout, build())
			return nil
		},
	}
}

// version is set when the program is linked: -ldflags "-X main.version=1.2.3".
var version string

// build says which build this is: the version it was linked with, or else what
// the Go toolchain recorded, the tag of the module or the commit.
func build() string {
	v := version
	if v == "" {
		v = "(devel)"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			v = info.Main.Version
		}
	}
	return fmt.Sprintf("ratelimit %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
