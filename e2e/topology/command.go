package topology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outputDelay is how long after a program's end its pipes may stay open. Another program that was started at the same
	// moment has them until it executes, which takes seconds on a busy emulated machine.
	outputDelay = 2 * time.Minute
	// killTimeout bounds the wait for killed programs.
	killTimeout = time.Minute
)

// Cmd is an [exec.Cmd] whose Start, Run, Output and CombinedOutput start the
// program inside a network namespace. Everything else of exec.Cmd is as it is.
type Cmd struct {
	*exec.Cmd
	namespace *Netns
}

// Command prepares a program that will run in the namespace. It is killed when
// ctx ends, when the topology is cleaned up and when this process dies, so it never
// outlives the test.
func (n *Netns) Command(ctx context.Context, name string, arguments ...string) *Cmd {
	command := exec.CommandContext(ctx, name, arguments...)
	command.WaitDelay = outputDelay
	// The kernel delivers it when the starting thread ends. Do hands its threads
	// back to the runtime, which keeps them.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	command.Cancel = func() error { return killGroup(command.Process.Pid) }
	return &Cmd{Cmd: command, namespace: n}
}

// Start starts the program in the namespace.
func (c *Cmd) Start() error {
	c.namespace.mu.Lock()
	defer c.namespace.mu.Unlock()
	if c.namespace.closed {
		return fmt.Errorf("start %s in %s: the namespace is closed", c.Path, c.namespace.Name)
	}
	// The parent of a new process is a thread, and the child's namespaces are that thread's.
	if err := c.namespace.Do(c.Cmd.Start); err != nil {
		return fmt.Errorf("start %s in %s: %w", c.Path, c.namespace.Name, err)
	}
	c.namespace.commands = append(c.namespace.commands, c)
	return nil
}

// Run starts the program in the namespace and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program in the namespace and returns what it wrote to its
// standard output.
func (c *Cmd) Output() (output []byte, err error) {
	err = c.namespace.Do(func() error {
		output, err = c.Cmd.Output()
		return err
	})
	return output, err
}

// CombinedOutput runs the program in the namespace and returns what it wrote to
// its standard output and standard error.
func (c *Cmd) CombinedOutput() (output []byte, err error) {
	err = c.namespace.Do(func() error {
		output, err = c.Cmd.CombinedOutput()
		return err
	})
	return output, err
}

// killAll kills those of the started commands that still run, with their
// children, and waits until they are gone. It leaves their statuses to whoever
// started them.
func killAll(commands []*Cmd) error {
	timeout := time.After(killTimeout)
	for _, c := range commands {
		pid := c.Process.Pid
		gone := make(chan struct{})
		if err := c.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
			continue
		}
		_ = killGroup(pid)
		go func() {
			defer close(gone)
			// ECHILD: its starter waited for it in the meantime.
			for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
			}
		}()
		select {
		case <-gone:
		case <-timeout:
			return fmt.Errorf("%s in %s still runs %v after it was killed", c.Path, c.namespace.Name, killTimeout)
		}
	}
	return nil
}

// killGroup kills a command and the processes it started.
func killGroup(pid int) error { return unix.Kill(-pid, unix.SIGKILL) }
