package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// child is a helper process that never outlives lab.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startChild starts a program with its output in a log file and, if given, a file as its descriptor 3.
func startChild(log string, extra *os.File, program string, args ...string) (*child, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = file, file
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	cmd.SysProcAttr = dieWithParent()
	// Ctrl-C at the terminal is for lab to handle.
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(c.ended)
	}()
	return c, nil
}

// stop kills the process and waits until it has gone.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGKILL) // fails only if it has ended
	<-c.ended
}
