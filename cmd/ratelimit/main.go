// Ratelimit is the command line of the rate limiter service: it asks over NATS
// whether a key may do something now, and says the answer with its exit code.
//
// Each verb is one file, which makes a command, and one line in
// [program.root]. What verbs share is in few places: connect.go is the only
// one that knows which NATS server to ask and as whom, and connecterror.go says
// why that did not work; ask.go asks about the keys of a command line, print.go
// writes answers, exit.go turns errors into sentences and exit codes, and
// flags.go does so for a mistyped command line.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends what is under way in good order; a second one
	// finds no handler and ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run is the whole program: it does what args say and returns the exit code.
// env returns the value of an environment variable, and "" if it has none.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	p := &program{
		stdin:  stdin,
		stdout: stdout,
		stderr: stderr,
		conn:   connection{env: env},
		exit:   exitAllowed,
	}
	return p.run(ctx, args)
}
