package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// benchEchoCommand is the other end of --baseline. It is a process of its own,
// as a worker is, so that it neither shares the caller's processor time nor
// spares the way between two processes. It reads the answer to give as a line
// on stdin, says on stdout that it is there, and ends with stdin.
func (p *program) benchEchoCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "echo SUBJECT",
		Short:  "Answer every request below SUBJECT with the line on stdin",
		Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wrongUse("say one subject, as in: ratelimit bench echo ratelimit.xecho")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			in := bufio.NewReader(p.stdin)
			body, err := in.ReadBytes('\n')
			if err != nil {
				return wrongUse("there is no line on stdin to answer with")
			}
			nc, err := p.conn.dial()
			if err != nil {
				return err
			}
			defer nc.Close()
			if err := bench.Echo(nc, args[0], bytes.TrimSuffix(body, []byte("\n"))); err != nil {
				return noAnswer("the echo cannot listen: %s", cause(err))
			}
			fmt.Fprintln(p.stdout, "ready")
			// An interrupt is for the one who measures, and goes to both: only
			// the end of stdin says that nobody asks any more.
			_, err = io.Copy(io.Discard, in)
			return err
		},
	}
}

// startEcho starts this program once more, as an echo under root that answers
// with body, and returns when it listens.
func (b *benchRun) startEcho(root string, body []byte) error {
	self, err := os.Executable()
	if err != nil {
		return wrongUse("--baseline starts this program a second time, and it cannot be found: %s", cause(err))
	}
	cmd := exec.Command(self, append([]string{"bench", "echo", root}, b.conn.args()...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = b.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return wrongUse("--baseline cannot start %s as an echo: %s", self, cause(err))
	}
	b.closing = append(b.closing, func() {
		in.Close()
		// It has nothing to say any more.
		_ = cmd.Wait()
	})
	slow := time.AfterFunc(b.conn.timeout+5*time.Second, func() { _ = cmd.Process.Kill() })
	defer slow.Stop()
	if _, err := in.Write(append(body, '\n')); err != nil {
		return noAnswer("the echo of --baseline did not start: %s", cause(err))
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "ready" {
		return noAnswer("the echo of --baseline did not start; its user must be allowed to subscribe to %s.>", root)
	}
	return err
}
