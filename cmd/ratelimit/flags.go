package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says in a sentence what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	see := "; see: " + cmd.CommandPath() + " --help"
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return wrongUse("%s does not know the flag -%s%s", cmd.Name(), unknown.GetSpecifiedName(), see)
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if near := flagsNear(cmd, name); len(near) > 0 {
			see = "; did you mean --" + strings.Join(near, " or --") + "?"
		}
		return wrongUse("%s does not know the flag --%s%s", cmd.Name(), name, see)
	case errors.As(err, &invalid):
		return wrongUse("--%s %q is not %s", invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid.GetFlag()))
	case errors.As(err, &missing):
		return wrongUse("--%s needs a value, %s", missing.GetFlag().Name, wanted(missing.GetFlag()))
	}
	return wrongUse("%s%s", err, see)
}

// wanted says what a value of the flag looks like.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int64", "int":
		return "a whole number such as 5"
	case "float64":
		return "a number such as 5 or 0.5"
	case "duration":
		return "a duration such as 1s, 500ms or 1h30m"
	case "bool":
		return "true or false"
	}
	return "such as --" + f.Name + "=" + f.Value.Type()
}

// flagsNear returns the flags that name was most likely meant to be. Cobra
// knows how to find such names among commands, so it is asked about those.
func flagsNear(cmd *cobra.Command, name string) []string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return names.SuggestionsFor(name)
}

// atLeastOne refuses a command line without arguments.
func atLeastOne(what, example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrongUse("say %s, as in: %s", what, example)
		}
		return nil
	}
}

// asksForJSON reports whether --json is among args.
func asksForJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}
