package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nativeInitName as argv[0] makes lab the first process of the namespaces it was started in.
const nativeInitName = "lab-native-init"

// labHostname is what the command sees as the machine's name, in either kind of lab.
const labHostname = "lab"

var errTimeout = errors.New("timed out")

// killDelay is how long the command has to end after it was asked to.
const killDelay = 5 * time.Second

// runNative runs the command on the host's kernel in namespaces of its own, and returns its exit status.
// It must be called on a locked thread, whose network namespace it changes for good.
func runNative(opt options) (int, error) {
	loadModules(labModules())
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return 0, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return 0, err
	}
	listeners, err := listenLoopback(opt.forward)
	if err != nil {
		return 0, err
	}
	// Goroutines run on other threads, which are still in the host's network namespace.
	forward(listeners, dialHost)
	cmd := nativeCommand(opt.command)
	signals := catchSignals()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make namespaces: %w", err)
	}
	return waitNative(cmd, signals, opt.timeout)
}

func nativeCommand(argv []string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{nativeInitName}, argv...)
	cmd.Env = withLabVariable(os.Environ(), modeNative)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = dieWithParent()
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS
	// At a terminal the command has to stay in the foreground group, to read keys and get Ctrl-C.
	cmd.SysProcAttr.Setpgid = !isTerminal(os.Stdin)
	return cmd
}

// dieWithParent kills the child when the starting thread ends, however it ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// waitNative waits for the namespaces' first process. Signals go on to it; its end takes every other
// process of the PID namespace along.
func waitNative(cmd *exec.Cmd, signals <-chan os.Signal, limit time.Duration) (int, error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := time.After(limit)
	var kill <-chan time.Time
	var reason error
	for {
		select {
		case err := <-ended:
			if reason != nil {
				return 0, reason
			}
			return exitStatus(cmd, err)
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // fails only if the process has just ended
			if !isTerminal(os.Stdin) && kill == nil {
				kill = time.After(killDelay)
			}
		case <-timeout:
			reason = fmt.Errorf("%w after %v: the command got SIGQUIT, then SIGKILL", errTimeout, limit)
			_ = cmd.Process.Signal(syscall.SIGQUIT) // as above
			kill = time.After(killDelay)
		case <-kill:
			_ = cmd.Process.Kill() // as above
		}
	}
}

func exitStatus(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return exitSignalShift + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// nativeInit is the first process of the namespaces: it makes them fit, runs the command and returns its status.
func nativeInit(argv []string) int {
	signals := catchSignals()
	dir, err := os.Getwd()
	if err == nil {
		err = nativeMounts(dir, argv[0])
	}
	if err != nil {
		return fail(err)
	}
	own := !isTerminal(os.Stdin)
	work := job{argv: argv, environ: os.Environ(), dir: dir, files: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}}
	work.attr.Setpgid = own
	pid, err := work.start()
	if err != nil {
		var start *startError
		fail(err)
		if errors.As(err, &start) {
			return start.status
		}
		return exitLabFailed
	}
	go func() {
		for sig := range signals {
			signalCommand(pid, own, sig.(syscall.Signal))
		}
	}()
	status, err := waitFor(pid)
	if err != nil {
		return fail(err)
	}
	return status
}

// nativeMounts gives the mount namespace the views that belong to the other namespaces: /proc and /sys,
// and a /run without the host's locks and named network namespaces.
func nativeMounts(dir, program string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mounts := []mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
	}
	if !strings.HasPrefix(dir+"/", "/run/") && !strings.HasPrefix(program, "/run/") {
		mounts = append(mounts, mount{"tmpfs", "/run", "tmpfs", 0, "mode=755"})
	}
	if err := mountAll("", mounts); err != nil {
		return err
	}
	if hasCgroup2() {
		if err := mountAll("", []mount{{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""}}); err != nil {
			return err
		}
	}
	return unix.Sethostname([]byte(labHostname))
}

func hasCgroup2() bool {
	data, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(data), "\tcgroup2\n")
}

// signalCommand passes a signal on: to the command's process group if it has one of its own.
func signalCommand(pid int, group bool, sig syscall.Signal) {
	if group {
		pid = -pid
	}
	_ = unix.Kill(pid, sig) // fails only if the command has just ended
}

// catchSignals returns the signals that are passed on to the command.
func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	return signals
}

func isTerminal(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
