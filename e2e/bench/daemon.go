package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a running kube-ipvs-proxy.
type daemon struct {
	command *exec.Cmd
	started time.Time
	lines   chan line
}

// line is what is of interest in a line of the daemon's log.
type line struct {
	at         time.Time // of its arrival
	Message    string    `json:"msg"`
	Operations int       `json:"operations"`
}

// inMemory copies the program to a file system in memory and returns the copy's path. Starting a program from a file system that
// a virtual machine shares with its host takes seconds, which no node would need.
func inMemory(program string) (path string, err error) {
	dir, err := os.MkdirTemp("/dev/shm", "bench-")
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, filepath.Base(program))
	return path, os.WriteFile(path, content, 0o755)
}

// completeMessage begins the line in which the daemon says that it has done everything.
const completeMessage = "every source is complete"

func startDaemon(o options, flags ...string) (*daemon, error) {
	arguments := append([]string{"--kubeconfig=" + os.Getenv("KUBECONFIG"), "--hostname-override=" + nodeName,
		"--conntrack-max-per-core=0", "--logging-format=json", "-v=2"}, flags...)
	d := &daemon{command: exec.Command(o.Daemon, append(arguments, strings.Fields(o.Flags)...)...), lines: make(chan line, 1024)}
	output, err := d.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	d.started = time.Now()
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	go d.read(output)
	return d, nil
}

// read passes the log on, and shows it with the time since the start.
func (d *daemon) read(output io.Reader) {
	defer close(d.lines)
	for scanner := bufio.NewScanner(output); scanner.Scan(); {
		l := line{at: time.Now()}
		if json.Unmarshal(scanner.Bytes(), &l) != nil {
			l.Message = scanner.Text()
		}
		if os.Getenv("BENCH_VERBOSE") != "" {
			fmt.Fprintf(os.Stderr, "%6d ms  %s\n", l.at.Sub(d.started).Milliseconds(), scanner.Bytes())
		}
		select {
		case d.lines <- l:
		default: // nobody waits for lines any more
		}
	}
}

// complete waits until the daemon says that it has done everything.
func (d *daemon) complete(ctx context.Context) (line, error) {
	for {
		select {
		case <-ctx.Done():
			return line{}, ctx.Err()
		case l, ok := <-d.lines:
			if !ok {
				return line{}, fmt.Errorf("the daemon ended: %w", d.command.Wait())
			}
			if strings.HasPrefix(l.Message, completeMessage) {
				return l, nil
			}
		}
	}
}

// stopPatience is how long the daemon may take to end.
const stopPatience = 30 * time.Second

func (d *daemon) stop() error {
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(stopPatience, func() { _ = d.command.Process.Kill() })
	defer late.Stop()
	return d.command.Wait()
}

// tick is the unit of times in /proc/PID/stat, USER_HZ.
const tick = 10 * time.Millisecond

// cpu returns the CPU time spent so far.
func (d *daemon) cpu() (time.Duration, error) {
	text, err := os.ReadFile(d.proc("stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte(") ")) // the name may hold spaces
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read %s: %q", d.proc("stat"), text)
	}
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	if userErr != nil || systemErr != nil {
		return 0, fmt.Errorf("read %s: %q", d.proc("stat"), text)
	}
	return time.Duration(user+system) * tick, nil
}

// resident returns the most memory that was resident, in KiB.
func (d *daemon) resident() (int, error) {
	text, err := os.ReadFile(d.proc("status"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("read VmHWM of %s: %w", d.proc("status"), err)
	}
	return kib, nil
}

func (d *daemon) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", d.command.Process.Pid, file)
}
