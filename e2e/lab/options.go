package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// mode says where the command runs.
type mode string

const (
	modeAuto   mode = "auto"
	modeNative mode = "native"
	modeVM     mode = "vm"
)

// options is what the command line and the LAB_* variables ask for.
type options struct {
	mode    mode
	command []string
	forward []int         // TCP ports of 127.0.0.1 that lead to the same port of the host's 127.0.0.1
	without []string      // kernel modules that cannot be loaded, underscores for hyphens
	share   []string      // directories whose changes reach the host, besides the working directory
	timeout time.Duration // bound on the command's run, set-up excluded
	cache   string        // directory for the kernel, logs and locks; "" for the default
	verbose bool
	vm      vmOptions
}

// vmOptions is the part of options that only a virtual machine heeds.
type vmOptions struct {
	cpus      int // 0 to choose
	memoryMiB int
	jobs      int    // virtual machines of one cache directory that may run at once, 0 to choose
	kernel    string // unpacked kernel package; "" to fetch one
	accel     string // QEMU accelerator
	preload   bool   // load every module that may be needed before the command starts
}

const usageText = `Usage: lab [flags] COMMAND [ARG...]

Runs COMMAND as root on a Linux kernel with IPVS: on the host's own in fresh namespaces if it
can load ip_vs and dummy, else in a virtual machine that sees the host's files. In the machine,
writes reach the host only below the working directory, the directories go test writes to, and those
given with -share.

Examples:
  lab ipvsadm -Ln
  lab sh -c 'ipvsadm -A -t 10.0.0.1:80 -s lc && ipvsadm -Ln'
  lab -without ip_vs_lc sh -c 'ipvsadm -A -t 10.0.0.1:80 -s lc'   # fails: no such scheduler
  lab -forward 6443 kubectl get nodes          # an API server on the host's loopback
  go test -exec "$PWD/.cache/bin/lab" ./internal/kernel/...
  LAB_FORWARD=6443 LAB_MODE=vm go test -exec "$PWD/.cache/bin/lab" ./internal/app/...

Exit status: the command's (128+N if signal N ended it); 124 timed out, 125 lab failed,
126 command cannot be executed, 127 command not found.

Flags (defaults of some come from LAB_MODE, LAB_FORWARD, LAB_WITHOUT, LAB_SHARE, LAB_JOBS,
LAB_TIMEOUT, LAB_CACHE, LAB_KERNEL and LAB_ACCEL):
`

// parseOptions reads the arguments after the program name; getenv supplies defaults. It returns
// flag.ErrHelp after printing help that was asked for.
func parseOptions(args []string, getenv func(string) string, output io.Writer) (options, error) {
	opt := options{}
	set := flag.NewFlagSet("lab", flag.ContinueOnError)
	set.SetOutput(output)
	set.Usage = func() {
		_, _ = io.WriteString(output, usageText) // nothing to do if help cannot be written
		set.PrintDefaults()
	}
	defaults := environment{getenv: getenv}
	lists := defineFlags(set, &opt, &defaults)
	if defaults.err != nil {
		return opt, defaults.err
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opt, err
		}
		return opt, fmt.Errorf("%w (lab --help lists the flags)", err)
	}
	opt.command = set.Args()
	return opt, lists.finish(&opt)
}

// listFlags holds what needs work after parsing.
type listFlags struct {
	forward, without, share string
	native, vm              bool
}

func defineFlags(set *flag.FlagSet, opt *options, env *environment) *listFlags {
	lists := &listFlags{}
	opt.mode = mode(env.text("LAB_MODE", string(modeAuto)))
	set.BoolVar(&lists.native, "native", false, "run on the host's kernel, whatever it lacks")
	set.BoolVar(&lists.vm, "vm", false, "run in a virtual machine, whatever the host's kernel has")
	set.StringVar(&lists.forward, "forward", env.text("LAB_FORWARD", ""),
		"`PORTS`: comma-separated; 127.0.0.1:PORT inside leads to the host's 127.0.0.1:PORT")
	set.StringVar(&lists.without, "without", env.text("LAB_WITHOUT", ""),
		"`MODULES`: comma-separated; the kernel cannot load these (implies -vm)")
	set.StringVar(&lists.share, "share", env.text("LAB_SHARE", ""),
		"`DIRS`: comma-separated; what the command writes there reaches the host")
	set.DurationVar(&opt.timeout, "timeout", env.duration("LAB_TIMEOUT", 25*time.Minute), "bound on the command's run")
	set.StringVar(&opt.cache, "cache", env.text("LAB_CACHE", ""), "`DIR` for kernel, logs and locks (default .cache/lab of the project)")
	set.BoolVar(&opt.verbose, "v", false, "say what happens, and keep the kernel's console log")
	set.IntVar(&opt.vm.cpus, "smp", 0, "virtual CPUs (default 2, or 1 with an emulator that cannot keep two consistent)")
	set.IntVar(&opt.vm.memoryMiB, "memory", 4096, "memory of the virtual machine in `MiB`")
	set.IntVar(&opt.vm.jobs, "jobs", env.integer("LAB_JOBS", 0), "virtual machines that may run at once (default as many as the CPUs carry); others wait,\nand go test counts that towards its -timeout")
	set.StringVar(&opt.vm.kernel, "kernel", env.text("LAB_KERNEL", ""), "`DIR`: unpacked kernel package (boot/, lib/modules/) instead of Debian's newest")
	set.StringVar(&opt.vm.accel, "accel", env.text("LAB_ACCEL", "tcg"), "QEMU accelerator, tcg or kvm")
	set.BoolVar(&opt.vm.preload, "preload", false, "load every module beforehand (3 s) instead of on demand, for measurements")
	return lists
}

// finish checks and stores what the flags and variables said.
func (l *listFlags) finish(opt *options) error {
	if l.native && l.vm {
		return errors.New("-native and -vm exclude each other")
	}
	if l.native {
		opt.mode = modeNative
	}
	if l.vm {
		opt.mode = modeVM
	}
	if opt.mode != modeAuto && opt.mode != modeNative && opt.mode != modeVM {
		return fmt.Errorf("LAB_MODE is %q, want auto, native or vm", opt.mode)
	}
	opt.share = splitList(l.share)
	for _, name := range splitList(l.without) {
		opt.without = append(opt.without, strings.ReplaceAll(name, "-", "_"))
	}
	var err error
	if opt.forward, err = parsePorts(l.forward); err != nil {
		return err
	}
	return opt.check()
}

func (o *options) check() error {
	switch {
	case len(o.command) == 0:
		return errors.New("no command given (lab --help shows examples)")
	case len(o.without) > 0 && o.mode == modeNative:
		return errors.New("-without cannot hold on the host's own kernel: leave out -native")
	case o.vm.cpus < 0 || o.vm.memoryMiB < 256 || o.vm.jobs < 0:
		return errors.New("want -smp of at least 0, -memory of at least 256 and -jobs of at least 0")
	case o.timeout <= 0:
		return errors.New("want a -timeout above zero")
	}
	return nil
}

// logf prints progress that only -v asks for.
func (o *options) logf(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
	}
}

func parsePorts(list string) ([]int, error) {
	var ports []int
	for _, item := range splitList(list) {
		port, err := strconv.Atoi(item)
		if err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("-forward: %q is no TCP port", item)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// splitList splits at commas, dropping blanks and empty items.
func splitList(list string) []string {
	var items []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// environment reads defaults from variables and keeps the first error.
type environment struct {
	getenv func(string) string
	err    error
}

func (e *environment) text(name, fallback string) string {
	if value := e.getenv(name); value != "" {
		return value
	}
	return fallback
}

func (e *environment) integer(name string, fallback int) int {
	value := e.getenv(name)
	if value == "" {
		return fallback
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("%s is %q, want a number", name, value))
	}
	return number
}

func (e *environment) duration(name string, fallback time.Duration) time.Duration {
	value := e.getenv(name)
	if value == "" {
		return fallback
	}
	duration, err := time.ParseDuration(value)
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("%s is %q, want a duration such as 10m", name, value))
	}
	return duration
}
