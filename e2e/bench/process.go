package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a contestant that runs.
type process struct {
	name      string
	completed string // begins the line of its log that says that it has done everything
	command   *exec.Cmd
	started   time.Time
	lines     chan line
	rounded   atomic.Int64 // nanoseconds that its rounds have taken so far
}

// line is what is of interest in a line of the log: JSON, or plain text.
type line struct {
	at         time.Time // of its arrival
	Message    string    `json:"msg"`
	Operations int       `json:"operations"`
	Took       float64   `json:"took"` // seconds
}

// start starts the contestant's program, with more flags.
func (g *guest) start(flags ...string) (*process, error) {
	arguments, err := g.contestant.arguments(g.options)
	if err != nil {
		return nil, err
	}
	return g.launch(exec.Command(filepath.Join(g.Programs, g.contestant.program), append(arguments, flags...)...))
}

// launch starts a command that is, or becomes, the contestant's program.
func (g *guest) launch(command *exec.Cmd) (*process, error) {
	p := &process{name: g.contestant.name, completed: g.contestant.complete, lines: make(chan line, 1024), command: command}
	p.command.Env = g.environment
	output, err := p.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.started = time.Now()
	if err := g.within(p.command.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.read(output)
	return p, nil
}

// read passes the log on, and shows it with the time since the start.
func (p *process) read(output io.Reader) {
	defer close(p.lines)
	for scanner := bufio.NewScanner(output); scanner.Scan(); {
		l := line{at: time.Now()}
		if json.Unmarshal(scanner.Bytes(), &l) != nil {
			l.Message = scanner.Text()
		}
		if os.Getenv("BENCH_VERBOSE") != "" {
			fmt.Fprintf(os.Stderr, "%6d ms  %s\n", l.at.Sub(p.started).Milliseconds(), scanner.Bytes())
		}
		if l.Message == "round done" {
			p.rounded.Add(int64(l.Took * float64(time.Second)))
		}
		select {
		case p.lines <- l:
		default: // nobody waits for lines any more
		}
	}
}

// rounds is how long the daemon's rounds have taken so far, as it says.
func (p *process) rounds() time.Duration { return time.Duration(p.rounded.Load()) }

// awaitComplete is complete, for so long at most.
func (p *process) awaitComplete(ctx context.Context, patience time.Duration) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.complete(ctx)
}

// complete waits until the program says that it has done everything.
func (p *process) complete(ctx context.Context) (line, error) {
	for {
		select {
		case <-ctx.Done():
			return line{}, ctx.Err()
		case l, ok := <-p.lines:
			if !ok {
				return line{}, fmt.Errorf("%s ended: %w", p.name, p.command.Wait())
			}
			if strings.Contains(l.Message, p.completed) {
				return l, nil
			}
		}
	}
}

// stopPatience is how long the program may take to end.
const stopPatience = 30 * time.Second

// stop ends the program. Kube-proxy does not catch the signal, so that its status means nothing.
func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(stopPatience, p.kill)
	defer late.Stop()
	var exit *exec.ExitError
	if err := p.command.Wait(); err != nil && !(errors.As(err, &exit) && p.name != self) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return nil
}

// kill ends what stop has not.
func (p *process) kill() { _ = p.command.Process.Kill() }

// tick is the unit of times in /proc/PID/stat, USER_HZ.
const tick = 10 * time.Millisecond

// cpu returns the CPU time spent so far, by the program and by those it started and that have ended.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte(") ")) // the name may hold spaces
	fields := strings.Fields(string(rest))
	if len(fields) < 15 {
		return 0, fmt.Errorf("read %s: %q", p.proc("stat"), text)
	}
	var ticks int
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		value, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("read %s: %q", p.proc("stat"), text)
		}
		ticks += value
	}
	return time.Duration(ticks) * tick, nil
}

// memory returns a line of /proc/PID/status, in KiB.
func (p *process) memory(field string) (int, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), field)
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("read %s of %s: %w", field, p.proc("status"), err)
	}
	return kib, nil
}

// wakeups counts how often the threads have gone to sleep, and so been woken.
func (p *process) wakeups() (int, error) {
	threads, err := filepath.Glob(p.proc("task/*/status"))
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		var count int
		if _, err := fmt.Sscan(rest, &count); err != nil {
			return 0, fmt.Errorf("read %s: %w", thread, err)
		}
		sum += count
	}
	return sum, nil
}

func (p *process) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.command.Process.Pid, file)
}
