package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	moduleLine   = "module kube-ipvs-proxy"
	logsToKeep   = 20
	lockInterval = 200 * time.Millisecond
	waitNotice   = 5 * time.Second // how long to wait for a machine in silence
)

// cacheDir returns the directory for the kernel, logs and locks, made if missing: the one asked for, else
// .cache/lab of the checkout that holds one of the starting points, else the user's cache directory.
func cacheDir(asked string, starts ...string) (string, error) {
	dir := asked
	for i := 0; dir == "" && i < len(starts); i++ {
		if root := projectRoot(starts[i]); root != "" {
			dir = filepath.Join(root, ".cache", "lab")
		}
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place for the lab's files: %w; give one with -cache", err)
		}
		dir = filepath.Join(base, "kube-ipvs-proxy", "lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// projectRoot returns the nearest directory at or above start with this project's go.mod, or "".
func projectRoot(start string) string {
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := bytes.Cut(data, []byte("\n")); err == nil && string(first) == moduleLine {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// fileLock is an advisory lock that ends with the process at the latest.
type fileLock struct{ file *os.File }

func (l *fileLock) release() {
	_ = l.file.Close() // closing drops the lock; a lock file has no data to lose
}

// lockAny waits for one of the lock files, in turns, and calls waiting once if it has to wait.
func lockAny(paths []string, waiting func()) (*fileLock, error) {
	for first := true; ; first = false {
		for _, path := range paths {
			lock, err := tryLock(path)
			if lock != nil || err != nil {
				return lock, err
			}
		}
		if first {
			waiting()
		}
		time.Sleep(lockInterval)
	}
}

// tryLock returns nil, nil if somebody else holds the lock.
func tryLock(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &fileLock{file}, nil
	}
	_ = file.Close() // the lock's error is the one that counts
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// machineSlot waits until fewer than jobs virtual machines of this cache run, and takes the slot in the name of
// the command. Only the first in the queue looks for a free slot: turns are taken in order.
func machineSlot(cache string, jobs int, command []string) (*fileLock, error) {
	queue, err := os.OpenFile(filepath.Join(cache, "queue.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer queue.Close()
	patience := time.AfterFunc(waitNotice, func() {
		progress("waiting for one of %d machines (-jobs), held by: %s", jobs, slotHolders(cache))
	})
	defer patience.Stop()
	if err := flockWait(queue); err != nil {
		return nil, err
	}
	paths := make([]string, jobs)
	for i := range paths {
		paths[i] = filepath.Join(cache, fmt.Sprintf("slot-%d.lock", i))
	}
	slot, err := lockAny(paths, func() {})
	if err != nil {
		return nil, err
	}
	// Who waits wants to know for whom.
	note := fmt.Sprintf("process %d since %s: %.200s\n", os.Getpid(), time.Now().Format(time.TimeOnly), strings.Join(command, " "))
	if err := errors.Join(slot.file.Truncate(0), writeAtStart(slot.file, note)); err != nil {
		slot.release()
		return nil, fmt.Errorf("note in %s: %w", slot.file.Name(), err)
	}
	return slot, nil
}

func writeAtStart(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// flockWait waits for the lock; the kernel serves waiters in order.
func flockWait(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// slotHolders tells who runs the machines: for a message only, so what cannot be read is left out.
func slotHolders(cache string) string {
	paths, _ := filepath.Glob(filepath.Join(cache, "slot-*.lock"))
	var holders []string
	for _, path := range paths {
		lock, err := tryLock(path)
		if lock != nil {
			lock.release()
			continue
		}
		if note, readErr := os.ReadFile(path); err == nil && readErr == nil && len(note) > 0 {
			holders = append(holders, strings.TrimSpace(string(note)))
		}
	}
	return strings.Join(holders, "; ")
}

// newConsoleLog returns the path for a console log, after removing the oldest ones.
func newConsoleLog(cache string, now time.Time) (string, error) {
	dir := filepath.Join(cache, "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".log") {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names) // names begin with their time
	for len(names) >= logsToKeep {
		if err := os.Remove(filepath.Join(dir, names[0])); err != nil && !os.IsNotExist(err) {
			return "", err
		}
		names = names[1:]
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%d.log", now.UTC().Format("20060102T150405"), os.Getpid())), nil
}
