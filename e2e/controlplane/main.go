package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ownFailure is the exit status when not COMMAND but this command failed.
const ownFailure = 125

// killDelay is how long COMMAND may take to end after a signal was passed on.
const killDelay = 20 * time.Second

// options are the flags.
type options struct {
	buildOnly    bool
	startTimeout time.Duration
	command      []string
}

func main() {
	// Servers die with the thread that started them (see startProcess); the main
	// goroutine stays on the main thread, which lives as long as the process.
	runtime.LockOSThread()
	os.Exit(run(os.Args[1:]))
}

// run is main with its status returned.
func run(arguments []string) int {
	o, err := parse(arguments, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return complain(err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer cancel()
	working, err := os.Getwd()
	if err != nil {
		return complain(err)
	}
	root, err := findRoot(working)
	if err != nil {
		return complain(err)
	}
	binaries, err := build(ctx, root, os.Stderr)
	if err != nil {
		return complain(err)
	}
	if o.buildOnly {
		return 0
	}
	return serve(ctx, o, root, binaries, signals)
}

// parse reads the command line.
func parse(arguments []string, output io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.BoolVar(&o.buildOnly, "build", false, "build etcd, kube-apiserver, kube-proxy and kubectl into .cache/bin and exit")
	flags.DurationVar(&o.startTimeout, "start-timeout", 5*time.Minute, "how long the servers may take to become ready")
	flags.Usage = func() {
		fmt.Fprintln(output, "usage: controlplane [flags] COMMAND [ARG...]\nRuns COMMAND beside a Kubernetes API server of its own (see doc.go).")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	o.command = flags.Args()
	if len(o.command) == 0 && !o.buildOnly {
		return options{}, errors.New("no COMMAND given; see controlplane -h")
	}
	return o, nil
}

// serve runs the command beside a fresh control plane.
func serve(ctx context.Context, o options, root, binaries string, signals <-chan os.Signal) int {
	dir, err := runDirectory(root)
	if err != nil {
		return complain(err)
	}
	started := time.Now()
	starting, cancel := context.WithTimeout(ctx, o.startTimeout)
	p, err := startPlane(starting, binaries, dir)
	cancel()
	if err != nil {
		return keepLogs(dir, complain(err))
	}
	fmt.Fprintf(os.Stderr, "controlplane: kube-apiserver serves on 127.0.0.1:%d after %s\n",
		p.port, time.Since(started).Round(100*time.Millisecond))
	status := runCommand(o.command, p, signals)
	p.stop()
	if status != 0 {
		return keepLogs(dir, status)
	}
	if err := os.RemoveAll(dir); err != nil {
		return complain(fmt.Errorf("remove the run's directory: %w", err))
	}
	return 0
}

// keepRuns is how long the logs of failed runs, and what killed ones left, stay.
const keepRuns = 24 * time.Hour

// runDirectory makes the run's own directory and removes those of long ago. It lies in the checkout because a
// virtual machine that shares the checkout may have a /tmp of its own.
func runDirectory(root string) (string, error) {
	parent := filepath.Join(root, ".cache", "run")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make the directory for runs: %w", err)
	}
	earlier, err := filepath.Glob(filepath.Join(parent, "controlplane-*"))
	if err != nil {
		return "", fmt.Errorf("list earlier runs: %w", err)
	}
	for _, dir := range earlier {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > keepRuns {
			if err := os.RemoveAll(dir); err != nil {
				return "", fmt.Errorf("remove an earlier run's files: %w", err)
			}
		}
	}
	dir, err := os.MkdirTemp(parent, "controlplane-")
	if err != nil {
		return "", fmt.Errorf("make the run's directory: %w", err)
	}
	return dir, nil
}

// keepLogs removes all but the logs from dir and says where they are.
func keepLogs(dir string, status int) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return complain(err)
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".log" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return complain(err)
		}
	}
	fmt.Fprintf(os.Stderr, "controlplane: the servers' logs are in %s\n", dir)
	return status
}

// runCommand runs the command to its end, passing signals on, and returns its
// exit status. If a server dies, the command is ended.
func runCommand(arguments []string, p *plane, signals <-chan os.Signal) int {
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = commandEnvironment(os.Environ(), p.kubeconfigPath(), p.port)
	// In a process group of its own a signal reaches its children as well. A
	// terminal serves only one group, so at a terminal it stays in ours.
	group := !isTerminal(os.Stdin)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: group, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return complain(fmt.Errorf("start the command: %w", err))
	}
	target := command.Process.Pid
	if group {
		target = -target
		// Whatever it left behind in its group ends here.
		defer syscall.Kill(target, syscall.SIGKILL)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	died := p.died()
	lost := false
	var deadline <-chan time.Time
	for {
		select {
		case <-ended:
			if lost {
				return ownFailure
			}
			return exitStatus(command.ProcessState)
		case received := <-signals:
			_ = syscall.Kill(target, received.(syscall.Signal))
			deadline = time.After(killDelay)
		case err := <-died:
			complain(err)
			lost, died = true, nil
			_ = syscall.Kill(target, syscall.SIGTERM)
			deadline = time.After(killDelay)
		case <-deadline:
			_ = syscall.Kill(target, syscall.SIGKILL)
		}
	}
}

// exitStatus is what a shell would report for state.
func exitStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// isTerminal reports whether file is a character device other than /dev/null,
// which is as close to "a terminal" as the standard library gets.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(info, null)
}

// complain prints err and returns ownFailure.
func complain(err error) int {
	fmt.Fprintln(os.Stderr, "controlplane:", err)
	return ownFailure
}
