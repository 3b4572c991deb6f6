package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// program is one run of the command line. It is not safe for concurrent use.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	conn connection

	// json makes every answer and every error a line of JSON on stdout.
	json bool

	// exit is the exit code so far: that of the worst answer.
	exit int
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	// Cobra reads os.Args when it is given nil.
	root.SetArgs(append([]string{}, args...))
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		// A flag that cannot be read hides those behind it, and an error
		// should come out the same wherever --json stands.
		p.json = p.json || asksForJSON(args)
		p.fail(failureOf(err))
	}
	return p.exit
}

// root builds the command with all its verbs. A new verb is one more line.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "ratelimit",
		Short:   "Ask the rate limiter service",
		Long:    rootHelp,
		Version: build(),
		Args:    cobra.ArbitraryArgs,
		RunE:    noVerb,

		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "print the version of this program")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	p.conn.flags(root)
	root.AddGroup(&cobra.Group{ID: groupAsk, Title: "Ask the service:"})
	root.AddCommand(
		p.checkCommand(),
		p.peekCommand(),
		p.resetCommand(),
		p.refundCommand(),
		p.keyCommand(),
		p.policiesCommand(),
		p.benchCommand(),
		p.versionCommand(),
		connectingTopic(),
	)
	exact(root)
	return root
}

// groupAsk is where the help lists the commands that ask about keys.
const groupAsk = "ask"

// exact makes the commands that cobra brings along refuse what they do not
// know, where they would show their help and exit with 0.
func exact(root *cobra.Command) {
	// Commands that can be run on their own only to be told off have no line
	// of usage for it.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if not .HasAvailableSubCommands}}", 1))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Short = "Help about a command"
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); len(args) > 0 && (err != nil || found == root) {
					return noVerb(root, args)
				}
				return nil
			}
		case "completion":
			cmd.Short = "Print a completion script for your shell"
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(*cobra.Command, []string) error {
				return wrongUse("say which shell: ratelimit completion bash, zsh, fish or powershell")
			}
		}
	}
}

// noVerb answers a command line that names no verb. It must not exit with 0,
// which would mean allowed.
func noVerb(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		root.SetOut(root.ErrOrStderr())
		if err := root.Help(); err != nil {
			return err
		}
		return wrongUse("say what to do, as in: ratelimit check user_123")
	}
	see := "see: ratelimit --help"
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		see = "did you mean: ratelimit " + strings.Join(near, ", or: ratelimit ")
	}
	return wrongUse("there is no command %q; %s", args[0], see)
}

const rootHelp = `ratelimit asks the rate limiter service: may this key do this now?

Start here. In one terminal, a whole service with nothing to set up:

  ratelimitd

In another one, ask. A key is whoever you limit: a user, an address, a tenant.

  ratelimit check user_123                          # by the limit that the service has for it
  ratelimit check user_123 --rate 5 --interval 1s   # by a limit of your own: 5 a second
  ratelimit peek user_123 --rate 5 --interval 1s    # look, and take nothing
  ratelimit reset user_123                          # fill the buckets again

In a script the exit code is the answer, so a command can wait behind a check:

  ratelimit check mails.$USER --rate 3 --interval 1h && ./send-mail

` + exitHelp
