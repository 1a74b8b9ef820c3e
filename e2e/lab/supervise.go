package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// job is the command as the first process of its PID namespace starts it.
type job struct {
	argv    []string
	environ []string
	dir     string
	files   [3]*os.File // standard input, output, error
	attr    syscall.SysProcAttr
}

// startError is a command that could not be started, with the exit status that says so.
type startError struct {
	status int
	err    error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// start starts the job's command and returns its PID.
func (j *job) start() (int, error) {
	if err := os.Chdir(j.dir); err != nil {
		return 0, fmt.Errorf("working directory: %w", err)
	}
	path, err := lookPath(j.argv[0], j.environ)
	if err != nil {
		return 0, &startError{statusOf(err), err}
	}
	attr := &os.ProcAttr{Env: j.environ, Files: j.files[:], Sys: &j.attr}
	process, err := os.StartProcess(path, j.argv, attr)
	if err != nil {
		return 0, &startError{statusOf(err), err}
	}
	pid := process.Pid
	// waitFor reaps by itself; nothing is left to release if this fails.
	_ = process.Release()
	return pid, nil
}

func statusOf(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return exitNotFound
	}
	return exitCannotExec
}

// lookPath finds the command along the PATH of its own environment.
func lookPath(name string, environ []string) (string, error) {
	for _, entry := range environ {
		if len(entry) > 5 && entry[:5] == "PATH=" {
			if err := os.Setenv("PATH", entry[5:]); err != nil {
				return "", err
			}
		}
	}
	return exec.LookPath(name)
}

// waitFor reaps every child, orphans included, until the one with this PID has ended, and returns
// its exit status.
func waitFor(pid int) (int, error) {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case ended != pid:
			continue
		case status.Signaled():
			return exitSignalShift + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
