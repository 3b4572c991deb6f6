// Performance measures everything that the project says about its speed, and
// writes one table of it, targets beside figures:
//
//	go run ./deploy/performance                      # print the table
//	go run ./deploy/performance -write               # into deploy/performance.md and .svg
//	go run ./deploy/performance -run 'async|c=1$'    # some rows only
//	go run ./deploy/performance -list
//
// With -growth it measures how cost grows instead: series of points that differ
// in one thing, the number of keys say, and take turns.
//
//	go run ./deploy/performance -growth              # 26 points, seven minutes
//	go run ./deploy/performance -growth -run keys    # one series
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
	"strings"
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
	pattern := flag.String("run", "", "measure only the rows, or series, whose name this regular expression matches")
	list := flag.Bool("list", false, "print the names of all of them, and measure nothing")
	write := flag.Bool("write", false, "write the table and the plot into "+document+" instead of the table to stdout")
	growing := flag.Bool("growth", false, "measure how cost grows")
	rounds := flag.Int("rounds", 5, "rounds of each row or point")
	length := flag.Duration("round", 2*time.Second, "how long each round is measured")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("it takes flags only, and not %q; see -help", flag.Arg(0))
	}
	if *rounds < 1 || *length < 100*time.Millisecond {
		return errors.New("-rounds is at least 1, and -round at least 100ms")
	}
	only, err := regexp.Compile(*pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	todo, names := matching(only, rows, func(r row) string { return r.name })
	grows, all := []series(nil), len(rows)
	if *growing {
		grows, names = matching(only, growth, func(s series) string { return s.name })
		all = len(growth)
	}
	switch {
	case len(names) == 0:
		return fmt.Errorf("nothing has a name that matches %q; see -list", *pattern)
	case *list:
		fmt.Println(strings.Join(names, "\n"))
		return nil
	case *write && len(names) < all:
		return errors.New("-write would leave out what -run does not name; print it instead")
	}

	busy := load() // before the compiler makes it so
	programs, err := build(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	on := conditions{machine: machine(ctx, programs, busy), rounds: *rounds, round: *length}
	if *growing {
		t, err := measureGrowth(ctx, programs, on, names, grows)
		return publish(*write && err == nil, beginGrowth, t.markdown(), err)
	}
	t, err := measureRows(ctx, programs, on, names, todo)
	if *write && err == nil {
		err = os.WriteFile(picture, t.plot(), 0o644)
	}
	return publish(*write && err == nil, begin, t.markdown(), err)
}

// measureRows measures rows one after another, on one rig.
func measureRows(ctx context.Context, programs string, on conditions, names []string, todo []row) (*table, error) {
	t := &table{conditions: on}
	rig, err := startRig(ctx, programs, layout{policies: policies})
	if err != nil {
		return t, err
	}
	defer rig.stop()
	return t, each(ctx, names, func(i int) error {
		got, err := todo[i].measure(ctx, rig, on.rounds, on.round)
		if err == nil {
			t.add(todo[i], got)
		}
		return err
	})
}

// measureGrowth measures series one after another, on rigs of their own.
func measureGrowth(ctx context.Context, programs string, on conditions, names []string, todo []series) (*growthTable, error) {
	t := &growthTable{conditions: on}
	return t, each(ctx, names, func(i int) error {
		outcomes, err := todo[i].measure(ctx, programs, on.rounds, on.round)
		if err == nil {
			t.add(todo[i], outcomes)
		}
		return err
	})
}

// each measures all of names. One that fails does not keep the others from
// their turn, but the end of ctx does.
func each(ctx context.Context, names []string, measure func(i int) error) error {
	var failed []error
	for i, name := range names {
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", i+1, len(names), name)
		if err := measure(i); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failed...)
}

// matching returns those whose name matches, and the names.
func matching[T any](pattern *regexp.Regexp, all []T, name func(T) string) (some []T, names []string) {
	for _, one := range all {
		if pattern.MatchString(name(one)) {
			some, names = append(some, one), append(names, name(one))
		}
	}
	return some, names
}

// publish writes a table into the document after the line begin, or prints it,
// also if err says that it is not whole: what there is may say why.
func publish(write bool, begin, text string, err error) error {
	if write {
		return writeInto(document, begin, text)
	}
	fmt.Print(text)
	return err
}
