package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// trace counts what strace saw.
type trace struct {
	Calls     int            // system calls
	Processes int            // programs and processes started
	Sends     int            // datagrams to netlink
	Messages  int            // in these
	Writes    int            // messages of kinds that change something, even if these did not
	Dumps     int            // netlink requests for a table
	Reads     int            // dumps of the real servers of one virtual server
	Written   map[string]int // these by kind
	Examples  []string
}

// mostExamples bounds how many of the calls that should not be are kept.
const mostExamples = 5

// traceOf runs f while strace watches every thread of the program.
func traceOf(ctx context.Context, p *process, f func() error) (trace, error) {
	pid := fmt.Sprint(p.command.Process.Pid)
	file, err := os.CreateTemp("", "bench-strace-")
	if err != nil {
		return trace{}, err
	}
	defer func() { _ = os.Remove(file.Name()); _ = file.Close() }()
	command := exec.Command("strace", "-f", "-qq", "-yy", "-s", "64", "-o", file.Name(), "-p", pid)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return trace{}, err
	}
	err = awaitAttached(ctx, pid)
	if err == nil {
		err = f()
	}
	_ = command.Process.Signal(syscall.SIGINT) // strace lets go of the program
	_ = command.Wait()                         // and ends with the signal
	if err != nil {
		return trace{}, err
	}
	return parseTrace(file)
}

// awaitAttached waits until every thread is traced.
func awaitAttached(ctx context.Context, pid string) error {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	for {
		states, err := filepath.Glob("/proc/" + pid + "/task/*/status")
		if err != nil {
			return err
		}
		attached := len(states) > 0
		for _, state := range states {
			text, err := os.ReadFile(state)
			attached = attached && err == nil && !strings.Contains(string(text), "TracerPid:\t0\n")
		}
		if attached {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("strace did not attach: %w", ctx.Err())
		case <-time.After(changeInterval):
		}
	}
}

// parseTrace reads the output of strace -f -yy.
func parseTrace(output io.Reader) (trace, error) {
	var t trace
	scanner := bufio.NewScanner(output)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		_, call, ok := strings.Cut(scanner.Text(), " ") // the thread's number comes first
		call = strings.TrimLeft(call, " ")
		if !ok || strings.HasPrefix(call, "<...") || strings.HasPrefix(call, "+++") || strings.HasPrefix(call, "---") {
			continue
		}
		t.Calls++
		t.count(call)
	}
	return t, scanner.Err()
}

func (t *trace) count(call string) {
	name, arguments, _ := strings.Cut(call, "(")
	switch name {
	case "execve", "execveat", "fork", "vfork":
		t.Processes++
		t.example(call)
	case "clone", "clone3":
		if !strings.Contains(arguments, "CLONE_THREAD") {
			t.Processes++
			t.example(call)
		}
	case "sendto", "sendmsg", "write":
		if !strings.Contains(arguments, "<NETLINK:") {
			return
		}
		t.Sends++
		for _, message := range netlinkMessages(arguments) {
			t.countMessage(message, call)
		}
	}
}

func (t *trace) countMessage(m message, call string) {
	t.Messages++
	switch {
	case m.write():
		t.Writes++
		if t.Written == nil {
			t.Written = map[string]int{}
		}
		t.Written[strings.TrimSpace(m.kind+" "+m.command)]++
	case !m.dump:
	case m.kind == ipvsFamily && m.command == getDest:
		t.Reads++
	default:
		t.Dumps++
		t.example(call)
	}
}

func (t *trace) example(call string) {
	if len(t.Examples) < mostExamples {
		t.Examples = append(t.Examples, call)
	}
}
