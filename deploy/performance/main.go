// Performance measures everything that the project says about its speed, and
// writes one table of it, targets beside figures:
//
//	go run ./deploy/performance                      # print the table
//	go run ./deploy/performance -write               # into deploy/performance.md and .svg
//	go run ./deploy/performance -run 'async|c=1$'    # some rows only
//	go run ./deploy/performance -list
//
// It builds the programs and starts a redis-server, a nats-server and a worker,
// each a process of its own, on free ports of the loopback, and then runs
// ratelimit bench for each row: the service in turns with an echo on the same
// NATS server, so that what counts, the ratio, is one of neighbors. Nothing
// else should run on the machine. Where it has more than two cores, confine all
// of it to two, as the targets are meant:
//
//	taskset -c 0,1 go run ./deploy/performance
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "performance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pattern := flag.String("run", "", "measure only the rows whose name this regular expression matches")
	list := flag.Bool("list", false, "print the names of all rows, and measure nothing")
	write := flag.Bool("write", false, "write the table into "+document+", and a plot beside it, instead of stdout")
	rounds := flag.Int("rounds", 5, "rounds of each row")
	length := flag.Duration("round", 2*time.Second, "how long each round is measured")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("it takes flags only, and not %q; see -help", flag.Arg(0))
	}
	only, err := regexp.Compile(*pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var todo []row
	for _, r := range rows {
		if only.MatchString(r.name) {
			todo = append(todo, r)
		}
	}
	switch {
	case len(todo) == 0:
		return fmt.Errorf("no row has a name that matches %q; see -list", *pattern)
	case *list:
		for _, r := range todo {
			fmt.Println(r.name)
		}
		return nil
	case *write && len(todo) < len(rows):
		return errors.New("-write would leave out the rows that -run does not name; print them instead")
	}

	busy := load() // before the compiler makes it so
	rig, err := startRig(ctx)
	if err != nil {
		return err
	}
	defer rig.stop()
	t := table{machine: rig.machine(ctx, busy), rounds: *rounds, round: *length}
	var failed []error
	for i, r := range todo {
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", i+1, len(todo), r.name)
		got, err := r.measure(ctx, rig, *rounds, *length)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
		default:
			t.add(r, got)
		}
	}
	if failed != nil {
		// What there is may still say why.
		fmt.Print(t.markdown())
		return errors.Join(failed...)
	}
	if *write {
		return errors.Join(t.plot(picture), t.writeInto(document))
	}
	fmt.Print(t.markdown())
	return nil
}
