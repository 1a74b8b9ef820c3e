package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// bootLimit bounds the time from starting QEMU to starting the command, on a busy machine.
const bootLimit = 4 * time.Minute

// runVM runs the command in a virtual machine and returns its exit status. It must be called on a locked
// thread, whose end would kill the machine.
func runVM(opt options) (int, error) {
	if runtime.GOARCH != "amd64" {
		return 0, fmt.Errorf("no virtual machine for %s: run with -native on a kernel that has ip_vs and dummy", runtime.GOARCH)
	}
	workDir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cache, err := cacheDir(opt.cache, workDir, filepath.Dir(self))
	if err != nil {
		return 0, err
	}
	m := &machine{opt: opt, workDir: workDir, self: self}
	if m.kernel, err = pickKernel(opt, cache); err != nil {
		return 0, err
	}
	if err := m.findPrograms(); err != nil {
		return 0, err
	}
	jobs := opt.vm.jobs
	if jobs == 0 {
		jobs = max(1, runtime.NumCPU()/m.cpus)
	}
	slot, err := machineSlot(cache, jobs, opt.command)
	if err != nil {
		return 0, err
	}
	defer slot.release()
	if m.console, err = newConsoleLog(cache, time.Now()); err != nil {
		return 0, err
	}
	// Until here a signal ends lab at once, as it should.
	signals := catchSignals()
	// Writing to a closed pipe has to be an error, so that the machine is stopped in order.
	signal.Ignore(syscall.SIGPIPE)
	status, err := m.run(signals)
	m.settleConsole(status, err)
	return status, err
}

func pickKernel(opt options, cache string) (kernel, error) {
	if opt.vm.kernel == "" {
		return ensureKernel(cache)
	}
	tree, err := filepath.Abs(opt.vm.kernel)
	if err != nil {
		return kernel{}, err
	}
	return openKernel(tree)
}

// machine is one run of a virtual machine.
type machine struct {
	opt     options
	workDir string
	self    string // lab's own executable, which is the machine's first process
	kernel  kernel
	cpus    int    // virtual CPUs
	console string // path of the kernel's console log
	dir     string // sockets and specification
	helpers helpers
}

// helpers are the programs behind a machine: where they are, and once they run, their processes.
type helpers struct {
	qemuPath, virtiofsdPath string
	qemu                    *child
	servers                 []*child
}

// findPrograms finds QEMU and virtiofsd, and settles what depends on their version.
func (m *machine) findPrograms() error {
	var err error
	if m.helpers.qemuPath, err = findQEMU(); err != nil {
		return err
	}
	if m.helpers.virtiofsdPath, err = findVirtiofsd(); err != nil {
		return err
	}
	version, err := command("/", m.helpers.qemuPath, "--version")
	if err != nil {
		return err
	}
	m.cpus = chooseCPUs(m.opt.vm.cpus, m.opt.vm.accel, version)
	m.opt.logf("%s, %d CPUs", strings.TrimSpace(firstLine(version)), m.cpus)
	return nil
}

// run starts the machine, talks to it until the command has ended, and leaves no process and no socket.
func (m *machine) run(signals <-chan os.Signal) (status int, err error) {
	if m.dir, err = runDir(); err != nil {
		return 0, err
	}
	defer os.RemoveAll(m.dir)
	if err := m.writeFiles(); err != nil {
		return 0, err
	}
	port, err := net.Listen("unix", filepath.Join(m.dir, portSocket))
	if err != nil {
		return 0, err
	}
	defer port.Close()
	defer m.stop()
	started := time.Now()
	if err := m.start(); err != nil {
		return 0, err
	}
	conn, err := m.accept(port)
	if err != nil {
		return 0, m.explain(err)
	}
	defer conn.Close()
	s := newSession(conn, m.opt, started)
	status, err = s.run(signals, m.helpers.qemu.ended)
	if err != nil && !errors.Is(err, errTimeout) {
		err = m.explain(err)
	}
	return status, err
}

// runDir makes the directory of one run, whose path must fit into a socket address and the kernel's command line.
func runDir() (string, error) {
	dir, err := os.MkdirTemp("", "lab-")
	if err == nil && len(dir) < 80 && !strings.ContainsAny(dir, " \t\",=") {
		return filepath.EvalSymlinks(dir)
	}
	if err == nil {
		err = os.Remove(dir)
	}
	if err != nil {
		return "", err
	}
	return os.MkdirTemp("/tmp", "lab-")
}

func (m *machine) writeFiles() error {
	shares, err := sharedDirs(m.workDir, m.opt, os.Getenv)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(m.self)
	if err != nil {
		return err
	}
	// A copy: the file may be built anew while the machine boots from it.
	if err := os.WriteFile(filepath.Join(m.dir, initFile), binary, 0o755); err != nil {
		return err
	}
	spec := guestSpec{
		Dir: m.workDir, Shares: shares, Without: m.opt.without, Preload: m.opt.vm.preload, Forward: m.opt.forward,
		KernelTree: m.kernel.tree, OneOutput: sameFile(os.Stdout, os.Stderr), Hostname: labHostname,
	}
	return writeSpec(m.dir, spec, m.opt.command, withLabVariable(os.Environ(), modeVM))
}

func sameFile(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func (m *machine) start() error {
	for _, tag := range []string{rootTag, sharedTag} {
		if err := m.serveFiles(tag); err != nil {
			return err
		}
	}
	args := qemuArgs(m.opt, m.kernel, m.dir, m.console, m.cpus)
	var err error
	m.helpers.qemu, err = startChild(filepath.Join(m.dir, qemuLog), nil, m.helpers.qemuPath, args...)
	return err
}

// serveFiles starts a virtiofsd, with its listening socket open so that QEMU need not wait for it.
func (m *machine) serveFiles(tag string) error {
	address := &net.UnixAddr{Name: filepath.Join(m.dir, socketName(tag)), Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	server, err := startChild(filepath.Join(m.dir, tag+".log"), socket, m.helpers.virtiofsdPath, virtiofsdArgs(tag)...)
	if err != nil {
		return err
	}
	m.helpers.servers = append(m.helpers.servers, server)
	return nil
}

// accept waits for QEMU to open the port, which it does before the machine runs.
func (m *machine) accept(port net.Listener) (net.Conn, error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	result := make(chan accepted, 1)
	go func() {
		conn, err := port.Accept()
		result <- accepted{conn, err}
	}()
	select {
	case r := <-result:
		return r.conn, r.err
	case <-m.helpers.qemu.ended:
		return nil, errors.New("QEMU ended at once")
	case <-time.After(bootLimit):
		return nil, errors.New("QEMU did not start")
	}
}

func (m *machine) stop() {
	if m.helpers.qemu != nil {
		m.helpers.qemu.stop()
	}
	for _, server := range m.helpers.servers {
		server.stop()
	}
}

// explain adds what QEMU and virtiofsd had to say to an error, and where to read on.
func (m *machine) explain(err error) error {
	for _, name := range []string{qemuLog, rootTag + ".log", sharedTag + ".log"} {
		// Without the log the error itself is still worth reporting.
		if text, readErr := os.ReadFile(filepath.Join(m.dir, name)); readErr == nil && len(text) > 0 {
			err = fmt.Errorf("%w\n%s: %s", err, name, strings.TrimSpace(lastLines(string(text), 5)))
		}
	}
	if text, readErr := os.ReadFile(m.console); readErr == nil && len(text) > 0 {
		err = fmt.Errorf("%w\nconsole: %s", err, strings.TrimSpace(lastLines(string(text), 10)))
	}
	return err
}

func lastLines(text string, count int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "")
}

// settleConsole says where the console log is, or removes it when nobody will ask.
func (m *machine) settleConsole(status int, err error) {
	if err == nil && status == 0 && !m.opt.verbose {
		_ = os.Remove(m.console) // at worst it goes with the old logs later
		return
	}
	if _, statErr := os.Stat(m.console); statErr == nil {
		progress("kernel console: %s", m.console)
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
