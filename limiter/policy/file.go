package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the directory must be quiet before the file is read,
	// because a file is rarely written in one go, and maxSettle after which
	// it is read anyway.
	settle    = 100 * time.Millisecond
	maxSettle = time.Second

	// poll is how often to look without having been told, for file systems that
	// tell nothing and links further up, and retry how often to look for a
	// directory that is gone.
	poll  = 10 * time.Second
	retry = time.Second
)

// File keeps a Book up to date with a file. Load reads it once, and Watch
// whenever it changes; what cannot be read or has errors changes nothing. Make
// one with NewFile; it is safe for concurrent use.
type File struct {
	path string
	book *Book
	log  *slog.Logger

	mu   sync.Mutex
	last string // what the last attempt came to, to tell news
}

// NewFile returns a File that reads nothing yet. What happens to the policies
// in force is logged.
func NewFile(path string, book *Book, log *slog.Logger) *File {
	return &File{path: path, book: book, log: log}
}

// Load reads the file and puts it in force, whether it has changed or not. If
// it cannot, the error says why, is also in the status of the book, and the
// policies in force stay. Call it at the start, before Watch, and on a SIGHUP.
func (f *File) Load() error { return f.load(true) }

// load reads the file. Unless told to, it does nothing if all is as it was
// the last time.
func (f *File) load(always bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := f.read()
	outcome := revision(text)
	if err != nil {
		outcome = err.Error()
	}
	if !always && outcome == f.last {
		return nil
	}
	f.last = outcome
	before := f.book.Set()
	if err == nil {
		err = f.book.Load(filepath.Base(f.path), text, outcome)
	} else {
		f.book.Fail(err)
	}
	if err != nil {
		f.log.Error("the policies were not changed, because the file has errors", "file", f.path, "error", err)
		return err
	}
	f.log.Info("policies in force", "file", f.path, "revision", outcome, "policies", f.book.Set().Len(), "changes", len(Diff(before, f.book.Set())))
	return nil
}

func (f *File) read() ([]byte, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("policy: there is no file %s; create it, or correct the setting that names it: %w", f.path, err)
	case err != nil:
		return nil, fmt.Errorf("policy: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("policy: %s is not a file but %s; name the file that holds the policies", f.path, kindOf(info.Mode()))
	case info.Size() > MaxSize:
		return nil, fmt.Errorf("policy: %s has %d bytes and must have at most %d; put customers that differ only in their limits into plans", f.path, info.Size(), MaxSize)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer file.Close()
	// One byte more than allowed is for Parse to complain about, should the
	// file have grown.
	text, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("policy: %s cannot be read: %w", f.path, err)
	}
	return text, nil
}

func kindOf(m fs.FileMode) string {
	if m.IsDir() {
		return "a directory"
	}
	return "a device or a pipe"
}

// revision names a version of a file by its content, so that all who have the
// same version call it the same.
func revision(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// Watch reads the file whenever it changes, and returns when ctx is done. It
// watches the directory, because editors replace a file and Kubernetes swaps a
// symbolic link beside it, neither of which changes the file that is there. It
// also looks every ten seconds, and every second while the directory cannot be
// watched.
func (f *File) Watch(ctx context.Context) {
	dir := filepath.Dir(f.path)
	var events <-chan fsnotify.Event
	var errs <-chan error
	w, err := fsnotify.NewWatcher()
	if err != nil {
		f.log.Warn("the policy file is looked at every second, because it cannot be watched", "file", f.path, "error", err)
	} else {
		defer w.Close()
		events, errs = w.Events, w.Errors
	}
	// What changed before the watch began would otherwise be missed.
	look := time.NewTimer(0)
	defer look.Stop()
	var since time.Time // of the first event that was not followed yet
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) < maxSettle {
				look.Reset(settle)
			}
		case err := <-errs:
			// Events may be lost, so look.
			f.log.Warn("watching the policy file", "file", f.path, "error", err)
			look.Reset(settle)
		case <-look.C:
			since = time.Time{}
			_ = f.load(false) // the error is logged, and in the status
			switch {
			case w != nil && len(w.WatchList()) > 0:
				look.Reset(poll)
			case w == nil || w.Add(dir) != nil:
				// There is no directory yet, or no longer.
				look.Reset(retry)
			default:
				look.Reset(0) // what happened just before the watch was not seen
			}
		}
	}
}
