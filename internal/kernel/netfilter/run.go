package netfilter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Runner finds and executes programs. Host is the real one.
type Runner interface {
	// Find returns the path of a program, or an error wrapping exec.ErrNotFound.
	Find(name string) (path string, err error)
	// Start starts a program. What it returns waits for the end, once, and returns what the program printed; one that
	// fails or cannot be started yields an error, an *ExitError if it ran.
	Start(ctx context.Context, command Command) (wait func() (stdout string, err error))
}

// Command is one execution.
type Command struct {
	Path  string
	Args  []string // without the program's name
	Stdin string   // empty: no input at all
	Env   []string // KEY=value, on top of the daemon's own environment
}

// String returns the command as typed, without its input.
func (c Command) String() string {
	return strings.Join(append([]string{filepath.Base(c.Path)}, c.Args...), " ")
}

// ExitError is the failure of a program that ran.
type ExitError struct {
	Code   int
	Stderr string
}

// Error returns the exit code and what the program said, each line once: some warnings come with every rule.
func (e *ExitError) Error() string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(e.Stderr)) {
		if line = strings.TrimRight(line, "\r\n"); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return fmt.Sprintf("exit code %d: %s", e.Code, strings.Join(lines, "\n"))
}

// Host runs programs of this machine, without a shell.
type Host struct{}

// Find looks into PATH and, since a daemon's PATH may lack them, into the system directories.
func (Host) Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, directory := range []string{"/usr/sbin", "/sbin"} {
		if found, err := exec.LookPath(filepath.Join(directory, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}

// Start starts the command in the calling thread's network namespace. When the context ends, the program is killed.
func (Host) Start(ctx context.Context, command Command) (wait func() (string, error)) {
	cmd := exec.CommandContext(ctx, command.Path, command.Args...)
	cmd.Env = append(os.Environ(), command.Env...)
	cmd.WaitDelay = time.Second
	if command.Stdin != "" {
		cmd.Stdin = strings.NewReader(command.Stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	return func() (string, error) {
		if err == nil {
			err = cmd.Wait()
		}
		if ended := ctx.Err(); err != nil && ended != nil {
			return "", fmt.Errorf("%s stopped: %w", command, errors.Join(ended, err))
		}
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return "", &ExitError{Code: exit.ExitCode(), Stderr: stderr.String()}
		}
		return stdout.String(), err
	}
}
