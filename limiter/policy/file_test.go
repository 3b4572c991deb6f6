package policy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

// watched is a file that is watched until the test ends.
type watched struct {
	*policy.File
	t    *testing.T
	path string
	book *policy.Book
	log  *lockedBuffer
}

// watch writes a file with one policy, of the rate 1, and watches it.
func watch(t *testing.T) *watched {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policies.yaml")
	write(t, path, ofRate(1))
	return watchPath(t, path)
}

func watchPath(t *testing.T, path string) *watched {
	t.Helper()
	log := &lockedBuffer{}
	book := policy.NewBook()
	w := &watched{policy.NewFile(path, book, slog.New(slog.NewTextHandler(log, nil))), t, path, book, log}
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { w.Watch(ctx) })
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return w
}

// rate waits until the policy in force has the rate.
func (w *watched) rate(want int64) {
	w.t.Helper()
	w.until(fmt.Sprintf("rate %d in force", want), func() bool {
		return rateOf(w.book.Set()) == want
	})
}

// failure waits until the last attempt failed with these words, and checks
// that the rate stayed.
func (w *watched) failure(words string, rate int64) {
	w.t.Helper()
	w.until("failure: "+words, func() bool {
		s := w.book.Status()
		return !s.OK && strings.Contains(s.LastError.Error(), words)
	})
	if got := rateOf(w.book.Set()); got != rate {
		w.t.Errorf("the rate in force is %d, want still %d", got, rate)
	}
}

func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s; status %+v\n%s", what, w.book.Status(), w.log)
		}
	}
}

func rateOf(s *policy.Set) int64 {
	m := s.Match("user.42")
	if m.Policy == nil {
		return 0
	}
	return m.Allowance().Limits[0].Rule.Limit().Rate
}

func ofRate(n int) string {
	return fmt.Sprintf("policies:\n  - match: user.*\n    limits: %d/s\n", n)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWatchFollowsAFileThatIsWritten(t *testing.T) {
	w := watch(t)
	start := time.Now()
	for n := 2; n < 9; n++ {
		write(t, w.path, ofRate(n))
		w.rate(int64(n))
	}
	// Looking every second would take at least six.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("seven changes took %v, so that they were looked for rather than told", took)
	}
	if s := w.book.Status(); !s.OK || s.Policies != 1 || !strings.HasPrefix(s.Revision, "sha256:") || s.LoadedAt.IsZero() {
		t.Errorf("status %+v", s)
	}
}

func TestWatchFollowsAFileThatIsReplaced(t *testing.T) {
	w := watch(t)
	for n := 2; n < 5; n++ { // as an editor does it
		other := w.path + ".tmp"
		write(t, other, ofRate(n))
		if err := os.Rename(other, w.path); err != nil {
			t.Fatal(err)
		}
		w.rate(int64(n))
	}
}

// TestWatchFollowsKubernetes swaps the link ..data, as the kubelet does it: the
// file that is watched is a link through it and never changes itself.
func TestWatchFollowsKubernetes(t *testing.T) {
	dir := t.TempDir()
	publish := func(n int) {
		version := fmt.Sprintf("..version_%d", n)
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "policies.yaml"), ofRate(n))
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	path := filepath.Join(dir, "policies.yaml")
	if err := os.Symlink(filepath.Join("..data", "policies.yaml"), path); err != nil {
		t.Fatal(err)
	}
	w := watchPath(t, path)
	for n := 2; n < 5; n++ {
		publish(n)
		w.rate(int64(n))
	}
}

// TestWatchKeepsTheLastGoodVersion is what the operator relies on: no mistake
// in the file takes the policies away.
func TestWatchKeepsTheLastGoodVersion(t *testing.T) {
	w := watch(t)
	write(t, w.path, strings.Replace(ofRate(2), "limits", "limit", 1))
	w.failure(`unknown field "limit"`, 1)

	write(t, w.path, "")
	w.failure("the document is empty", 1)

	write(t, w.path, "policies: ["+strings.Repeat(" ", 10<<20)+"]")
	w.failure("has 10485772 bytes and must have at most 8388608", 1)

	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.failure("there is no file", 1)

	if err := os.Mkdir(w.path, 0o755); err != nil {
		t.Fatal(err)
	}
	w.failure("is not a file", 1)
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}

	write(t, w.path, ofRate(3))
	w.rate(3)
	if s := w.book.Status(); !s.OK || s.LastError != nil || s.Loads != 2 || s.Failures < 5 {
		t.Errorf("status %+v, want 2 loads and at least 5 failures", s)
	}
}

func TestWatchFollowsADirectoryThatIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	path := filepath.Join(dir, "policies.yaml")
	publish := func(n int) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, ofRate(n))
	}
	publish(1)
	w := watchPath(t, path)
	write(t, path, ofRate(4))
	w.rate(4)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.failure("there is no file", 4)
	publish(2)
	w.rate(2)
	write(t, path, ofRate(3))
	w.rate(3)
}

// TestWatchReadsABusyDirectory writes without a pause beside the file: the
// file must be read all the same.
func TestWatchReadsABusyDirectory(t *testing.T) {
	w := watch(t)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(w.path+".other", []byte{byte(i)}, 0o644)
				time.Sleep(time.Millisecond)
			}
		}
	})
	defer busy.Wait()
	defer close(stop)
	for n := 2; n < 4; n++ {
		write(t, w.path, ofRate(n))
		w.rate(int64(n))
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	missing, long, growing := filepath.Join(dir, "missing.yaml"), filepath.Join(dir, "long.yaml"), filepath.Join(dir, "empty.yaml")
	write(t, long, strings.Repeat("#", 10<<20))
	write(t, growing, "")
	for path, want := range map[string]string{
		missing:     fmt.Sprintf("policy: there is no file %s; create it, or correct the setting that names it: stat %s: no such file or directory", missing, missing),
		long:        fmt.Sprintf("policy: %s has 10485760 bytes and must have at most 8388608; put customers that differ only in their limits into plans", long),
		growing:     "empty.yaml: the document is empty; it must have policies, and to have none on purpose is written policies: []",
		dir:         fmt.Sprintf("policy: %s is not a file but a directory; name the file that holds the policies", dir),
		"/dev/zero": "policy: /dev/zero is not a file but a device or a pipe; name the file that holds the policies",
	} {
		book, before := bookWithPolicies(t)
		f := policy.NewFile(path, book, slog.New(slog.DiscardHandler))
		if err := f.Load(); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", path, err, want)
		}
		if book.Set() != before || book.Status().OK {
			t.Errorf("%s: the policies have changed, or the status is OK", path)
		}
	}
}

func TestLoadReadsAgain(t *testing.T) { // as on a SIGHUP
	path := filepath.Join(t.TempDir(), "policies.yaml")
	write(t, path, ofRate(1))
	book := policy.NewBook()
	f := policy.NewFile(path, book, slog.New(slog.DiscardHandler))
	for n := 1; n < 4; n++ {
		write(t, path, ofRate(n))
		if err := f.Load(); err != nil || rateOf(book.Set()) != int64(n) {
			t.Errorf("Load: %v, rate %d, want %d", err, rateOf(book.Set()), n)
		}
	}
}
