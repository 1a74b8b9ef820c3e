package manifests

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kube-ipvs-proxy/internal/service"
)

// maxFile is how many bytes of a file are read at most.
const maxFile = 64 << 20

var (
	errEmpty      = errors.New("the file is empty; delete it to remove what it held")
	errNotRegular = errors.New("not a regular file; remove it")
	errLarge      = errors.New("larger than 64 MiB; split it")
)

// file is what counts of a file: its latest version that could be understood, and what is wrong with the latest.
type file struct {
	state    state             // in which the latest version was read; zero if it may have changed since unnoticed
	sum      [sha256.Size]byte // of the latest version
	objects  []object
	good     bool // objects are a version that was understood as a whole
	problems []service.Problem
}

// reader reads a directory again and again.
type reader struct {
	dir   string
	files map[string]*file
}

// read brings files up to date and reports whether any changed. After an error, which is about the directory as a
// whole, they are what they were.
func (r *reader) read() (changed bool, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return false, err
	}
	files := map[string]*file{}
	for _, entry := range entries {
		name := entry.Name()
		if !isManifest(name) {
			continue
		}
		if f := r.readFile(name); f != nil {
			files[name] = f
		}
	}
	changed = !maps.Equal(files, r.files)
	r.files = files
	return changed, nil
}

// isManifest tells manifests by their name. Hidden files are those of editors and of ConfigMap volumes.
func isManifest(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// state identifies the contents of a file without reading them. The time of the last change of contents or attributes is set
// by the kernel alone: unlike the time of modification, no tool can keep it as it was.
type state struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
}

// settledAge is how old a change has to be for the next one to get another time, on any file system.
const settledAge = 3 * time.Second

// stateOf returns the state of a file, zero if it cannot be had, and whether at that moment it was old enough to tell.
func stateOf(path string, at time.Time) (now state, settled bool) {
	info, err := os.Stat(path)
	if err != nil {
		return state{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return state{}, false
	}
	return state{stat.Dev, stat.Ino, stat.Size, stat.Ctim}, at.Sub(time.Unix(stat.Ctim.Unix())) >= settledAge
}

// readFile returns what counts of a file now, or nil when it is gone.
func (r *reader) readFile(name string) *file {
	old := r.files[name]
	path := filepath.Join(r.dir, name)
	now, settled := stateOf(path, time.Now())
	switch {
	case old != nil && now != (state{}) && old.state == now:
		return old
	case !settled:
		now = state{}
	}
	data, err := contents(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	out := &file{}
	if err != nil {
		out.problems = []service.Problem{{Object: fileObject(name), Field: name, Reason: unreadable(err)}}
	} else {
		out.sum = sha256.Sum256(data)
		if old != nil && out.sum == old.sum {
			old.state = now
			return old
		}
		out.state = now
		found := decode(name, data)
		out.objects, out.problems, out.good = found.objects, found.problems, !found.bad
	}
	if !out.good && old != nil && old.good {
		out.objects, out.good = old.objects, true
		out.problems = append(out.problems, service.Problem{Object: fileObject(name), Field: name, Reason: "its last good version stays in force until it is corrected"})
	}
	return out
}

// unreadable says why a file cannot be read, and what to do.
func unreadable(err error) string {
	reason := fmt.Sprintf("cannot be read: %v", err)
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return reason + "; correct what the link points to, or remove it"
	case errors.As(err, &path):
		return reason + "; make it readable for the daemon, or remove it"
	}
	return reason
}

func contents(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	err = errors.Join(err, f.Close())
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, errEmpty
	case len(data) > maxFile:
		return nil, errLarge
	}
	return data, nil
}
