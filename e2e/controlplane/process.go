package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// logTail is how much of a server's log an error message quotes, in bytes.
const logTail = 2000

// process is a server that this run started, with its output in a file.
type process struct {
	name    string
	logPath string
	command *exec.Cmd
	// exited is closed once the process is gone and reaped.
	exited chan struct{}
}

// startProcess starts binary with its output going to dir/NAME.log. The caller
// has to be locked to a thread that lives as long as this process does: the
// kernel kills the server when that thread ends, however it ends.
func startProcess(dir, binary string, arguments []string) (*process, error) {
	name := filepath.Base(binary)
	p := &process{name: name, logPath: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	p.command = exec.Command(binary, arguments...)
	p.command.Dir = dir
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		// The status is in ProcessState; a killed server is no error.
		_ = p.command.Wait()
	}()
	return p, nil
}

// stop kills the process and waits until it is gone. Nothing it holds outlives
// the run, so there is no need to be gentle.
func (p *process) stop() {
	_ = p.command.Process.Kill()
	<-p.exited
}

// failure says how the process ended, with the end of its log. Only valid once
// exited is closed.
func (p *process) failure() error {
	tail, err := os.ReadFile(p.logPath)
	if err != nil {
		tail = []byte(err.Error())
	}
	if len(tail) > logTail {
		tail = tail[len(tail)-logTail:]
	}
	err = fmt.Errorf("%s ended (%s); its log %s ends:\n%s",
		p.name, p.command.ProcessState, p.logPath, strings.TrimSpace(string(tail)))
	if bytes.Contains(tail, []byte("address already in use")) {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}

// wait calls ready until it succeeds, ctx ends or one of the processes does.
func wait(ctx context.Context, processes []*process, ready func(context.Context) error) error {
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		for _, p := range processes {
			select {
			case <-p.exited:
				return p.failure()
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time, last answer: %w", last)
		case <-pause():
		}
	}
}
