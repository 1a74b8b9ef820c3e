package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// System is where parameters are read and written. The zero value is this machine and the calling thread's network
// namespace.
type System struct {
	ProcSys string // empty: /proc/sys
	Sys     string // empty: /sys
	Release string // kernel release as uname -r prints it; empty: the running kernel's
	CPUs    int    // CPUs of the node; 0: those online, whatever this process may use
}

const initOnly = "run with --init-only in a privileged init container, or set it on the host"

// Apply brings the parameters to what the settings say, and returns a line for each that it changed and one for each
// thing that only the operator can judge. It goes on after a failure; the errors are joined and wrap
// dataplane.ErrUnavailable (not in this kernel, or its module is not loaded), dataplane.ErrPermission or
// dataplane.ErrInvalid.
func (s System) Apply(ctx context.Context, settings Settings) (changed, warnings []string, err error) {
	run := application{System: s.withDefaults()}
	kernel, err := run.kernel()
	if err != nil {
		run.warn("%v: %s is left alone", err, reuseMode)
	}
	for _, p := range settings.fixed(kernel) {
		if err := ctx.Err(); err != nil {
			return run.changed, run.warnings, errors.Join(append(run.errs, err)...)
		}
		run.set(p)
	}
	run.sizeConntrack(settings.Conntrack)
	run.check(settings, kernel)
	return run.changed, run.warnings, errors.Join(run.errs...)
}

func (s System) withDefaults() System {
	if s.ProcSys == "" {
		s.ProcSys = "/proc/sys"
	}
	if s.Sys == "" {
		s.Sys = "/sys"
	}
	if s.CPUs == 0 {
		s.CPUs = s.online()
	}
	return s
}

// Seconds returns a parameter that counts seconds, by its path below /proc/sys, or 0 if it cannot be read.
func (s System) Seconds(name string) time.Duration {
	value, err := read(filepath.Join(s.withDefaults().ProcSys, name))
	if err != nil {
		return 0
	}
	return time.Duration(value) * time.Second
}

// kernel returns the running kernel's version.
func (s System) kernel() (version, error) {
	if s.Release != "" {
		return parseVersion(s.Release)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return version{}, fmt.Errorf("uname: %w", err)
	}
	return parseVersion(unix.ByteSliceToString(name.Release[:]))
}

// online counts the node's CPUs. The table is the node's, so the CPUs that this process is confined to do not matter.
func (s System) online() int {
	text, err := os.ReadFile(filepath.Join(s.Sys, "devices/system/cpu/online"))
	if err != nil {
		return runtime.NumCPU()
	}
	count, err := countCPUs(strings.TrimSpace(string(text)))
	if err != nil {
		return runtime.NumCPU()
	}
	return count
}

// countCPUs counts a kernel CPU list, such as "0-3,8".
func countCPUs(list string) (int, error) {
	count := 0
	for span := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(span, "-")
		if !ranged {
			last = first
		}
		a, errFirst := strconv.Atoi(first)
		b, errLast := strconv.Atoi(last)
		if errFirst != nil || errLast != nil || b < a {
			return 0, fmt.Errorf("CPU list %q: %w", list, dataplane.ErrInvalid)
		}
		count += b - a + 1
	}
	return count, nil
}

// application is one run of Apply.
type application struct {
	System
	changed  []string
	warnings []string
	errs     []error
}

func (a *application) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

// set brings a parameter to exactly its value.
func (a *application) set(p parameter) {
	path := filepath.Join(a.ProcSys, p.name)
	have, err := read(path)
	if err != nil {
		a.errs = append(a.errs, explain(p.name, p.value, err))
		return
	}
	if have == p.value {
		return
	}
	if err := a.write(path, p.value); err != nil {
		a.errs = append(a.errs, explain(p.name, p.value, fmt.Errorf("is %d: %w", have, err)))
		return
	}
	a.changed = append(a.changed, fmt.Sprintf("%s: %d, was %d", p.name, p.value, have))
}

// sizeConntrack raises the number of connections that can be tracked, and the hash table with it. Both belong to the
// host, not to a network namespace, so that not being allowed to is worth a warning only.
func (a *application) sizeConntrack(c Conntrack) {
	want := c.conntrackMax(a.CPUs)
	if want == 0 {
		return
	}
	a.raise(conntrackMaxName, filepath.Join(a.ProcSys, conntrackMaxName), want)
	const hash = "module/nf_conntrack/parameters/hashsize"
	if _, err := os.Stat(filepath.Join(a.Sys, hash)); err != nil {
		a.warn("/sys/%s should be at least %d but cannot be read (%v); mount the host's /sys", hash, want/4, err)
		return
	}
	a.raise("/sys/"+hash, filepath.Join(a.Sys, hash), want/4)
}

func (a *application) raise(name, path string, least int) {
	have, err := read(path)
	if err == nil && have >= least {
		return
	}
	if err == nil {
		err = a.write(path, least)
	}
	switch {
	case err == nil:
		a.changed = append(a.changed, fmt.Sprintf("%s: %d, was %d", name, least, have))
	case forbidden(err):
		a.warn("%s should be at least %d but cannot be set (%v); %s", name, least, err, initOnly)
	default:
		a.errs = append(a.errs, explain(name, least, err))
	}
}

// check looks at what is not set on purpose. Switching IPv6 forwarding on makes the kernel forget the default route that
// it learnt from router advertisements, so that is left to whoever owns the network. A missing file means that the
// subsystem is not there, so it cannot harm either.
func (a *application) check(s Settings, kernel version) {
	bridge := map[dataplane.Family]string{dataplane.IPv4: "iptables", dataplane.IPv6: "ip6tables"}
	for _, f := range s.Families {
		name := "net/bridge/bridge-nf-call-" + bridge[f]
		if a.reads(name, 0) {
			a.warn("%s is 0: traffic between pods on one bridge bypasses the rules; set it to 1 if your pods are on a bridge", name)
		}
	}
	if slices.Contains(s.Families, dataplane.IPv6) && a.reads("net/ipv6/conf/all/forwarding", 0) {
		a.warn("net/ipv6/conf/all/forwarding is 0: Services cannot be reached through this node over IPv6; set it to 1" +
			" (and accept_ra to 2 on interfaces that get their route from router advertisements)")
	}
	if kernel.atLeast(version{5, 9}) && a.reads(reuseMode, 0) {
		a.warn("%s is 0: on this kernel that sends new connections to drained real servers; set it to 1", reuseMode)
	}
}

func (a *application) reads(name string, value int) bool {
	have, err := read(filepath.Join(a.ProcSys, name))
	return err == nil && have == value
}

func read(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s holds %q: %w", path, text, dataplane.ErrInvalid)
	}
	return value, nil
}

// write never creates the file: a parameter that is not there is not there.
func (a *application) write(path string, value int) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strconv.Itoa(value) + "\n")
	return errors.Join(err, file.Close())
}

// forbidden reports a failure that another process, with more rights or on the host itself, would not have. The hash
// size answers EOPNOTSUPP in every network namespace but the first.
func forbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EOPNOTSUPP)
}

func explain(name string, value int, err error) error {
	switch {
	case forbidden(err):
		return fmt.Errorf("set %s to %d: %w: %w; %s", name, value, err, dataplane.ErrPermission, initOnly)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("set %s to %d: %w: %w; %s", name, value, err, dataplane.ErrUnavailable, remedy(name))
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ERANGE):
		return fmt.Errorf("set %s to %d: %w: %w", name, value, err, dataplane.ErrInvalid)
	}
	return fmt.Errorf("set %s to %d: %w", name, value, err)
}

func remedy(name string) string {
	switch {
	case strings.HasPrefix(name, "net/ipv4/vs/"):
		return "load the module ip_vs on the host (modprobe ip_vs)"
	case strings.Contains(name, "nf_conntrack"):
		return "load the module nf_conntrack on the host (modprobe nf_conntrack)"
	}
	return "mount the host's /proc/sys"
}
