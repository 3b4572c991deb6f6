package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

const rootHelp = `ratelimitd is a rate limiter as a service over NATS.

Without a command it runs everything in one process: a NATS server, a worker
and the HTTP bridge. Whatever is configured is used, and whatever is not is
embedded, so on a fresh machine this is all it takes:

  ratelimitd
  curl -d '{"key":"user_123","rate":5,"interval":"1s"}' localhost:8080/check

In production, run any number of workers and bridges:

  NATS_URL=nats://nats:4222 REDIS_URL=redis://redis:6379 ratelimitd worker
  NATS_URL=nats://nats:4222 RATELIMIT_HTTP_ADDR=:8080 ratelimitd bridge

All settings come from the environment; "ratelimitd config" lists them with
their values. SIGTERM and Ctrl-C stop it: what it has accepted is answered
first. Exit codes: 0 stopped, 1 failed, 2 wrong use or wrong settings.`

// errUsage marks errors that a change of arguments or settings mends.
var errUsage = errors.New("wrong use")

// run runs the program and returns its exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := rootCommand(environ, stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		return 1
	}
}

func rootCommand(environ []string, stdout, stderr io.Writer) *cobra.Command {
	daemon := func(r role) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			return report(stderr, runDaemon(cmd.Context(), r, environ, stdout, stderr))
		}
	}
	root := &cobra.Command{
		Use:           "ratelimitd",
		Short:         "Rate limiter as a service over NATS",
		Long:          rootHelp,
		Args:          noArgs,
		RunE:          daemon(roleAll),
		SilenceUsage:  true,
		SilenceErrors: true,
		// There is little to complete, and its help would be longer than ours.
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help", Args: cobra.NoArgs}) // --help is there
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return report(stderr, fmt.Errorf("%w: %w; settings are environment variables, see: ratelimitd --help", errUsage, err))
	})
	root.AddCommand(
		&cobra.Command{Use: "worker", Short: "Decide checks that come over NATS, in Redis", Args: noArgs, RunE: daemon(roleWorker)},
		&cobra.Command{Use: "bridge", Short: "Take checks over HTTP and ask the workers over NATS", Args: noArgs, RunE: daemon(roleBridge)},
		configCommand(environ, stdout, stderr),
		healthcheckCommand(environ, stderr),
		&cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, Run: func(*cobra.Command, []string) {
			fmt.Fprintln(stdout, version)
		}},
	)
	for _, c := range root.Commands() {
		if args := c.Args; args != nil {
			c.Args = func(cmd *cobra.Command, a []string) error { return report(stderr, args(cmd, a)) }
		}
	}
	args := root.Args
	root.Args = func(cmd *cobra.Command, a []string) error { return report(stderr, args(cmd, a)) }
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %q is not a command of %s; see: ratelimitd --help", errUsage, args[0], cmd.CommandPath())
}

// report prints an error, a line for each of several, and passes it on.
func report(w io.Writer, err error) error {
	if err == nil {
		return nil
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(err.Error(), errUsage.Error()+": "), "\n") {
		fmt.Fprintln(w, "ratelimitd:", line)
	}
	return err
}

// runDaemon runs a daemon until ctx ends or it fails.
func runDaemon(ctx context.Context, r role, environ []string, stdout, stderr io.Writer) error {
	cfg, warnings, err := loadConfig(environ, r)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	log := newLogger(stderr, &cfg)
	redis.SetLogger(redisLogger{log})
	for _, w := range warnings {
		log.Warn(w)
	}
	d, err := openDaemon(ctx, cfg, r, log)
	if err != nil {
		return err
	}
	if r == roleAll {
		d.printBanner(stdout)
	} else {
		log.Info("ready", "role", string(r), "version", version, "admin", d.adminURL, "http", d.httpURL)
	}
	select {
	case <-ctx.Done():
		log.Info("stopping: answering what has been accepted")
	case err = <-d.Failed():
		log.Error("stopping", "error", err)
	}
	return errors.Join(err, d.Close())
}

func configCommand(environ []string, stdout, stderr io.Writer) *cobra.Command {
	var markdown bool
	var as string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective settings and where each came from",
		Long: `Print the effective settings and where each came from, and what is wrong with
them. Secrets are not shown.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if markdown {
				settingsTable(stdout)
				return nil
			}
			r := role(as)
			if r != roleAll && r != roleWorker && r != roleBridge {
				return report(stderr, fmt.Errorf("%w: --role %q must be %s, %s or %s", errUsage, as, roleAll, roleWorker, roleBridge))
			}
			cfg, warnings, err := loadConfig(environ, r)
			if err := printConfig(stdout, environ, cfg); err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(stderr, "ratelimitd: warning:", w)
			}
			if err != nil {
				return report(stderr, fmt.Errorf("%w: %w", errUsage, err))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the table of all settings for the README instead")
	cmd.Flags().StringVar(&as, "role", string(roleAll), "check the settings for this role: "+strings.Join([]string{string(roleAll), string(roleWorker), string(roleBridge)}, ", "))
	return cmd
}

func healthcheckCommand(environ []string, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the daemon of this machine whether it is ready; for containers",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := loadConfig(environ, roleAll)
			if err != nil {
				return report(stderr, fmt.Errorf("%w: %w", errUsage, err))
			}
			return report(stderr, healthcheck(cmd.Context(), cfg.AdminAddr))
		},
	}
}

// healthcheck asks /readyz on the admin listener.
func healthcheck(ctx context.Context, a addr) error {
	host, port, _ := net.SplitHostPort(string(a))
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no daemon answers: %w; check RATELIMIT_ADMIN_ADDR", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the daemon is not ready: %s", strings.TrimSpace(string(body)))
	}
	return nil
}
