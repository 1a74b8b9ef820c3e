package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

// Exit statuses of lab itself; every other one is the command's. They are those of timeout(1) and env(1).
const (
	exitTimeout     = 124
	exitLabFailed   = 125
	exitCannotExec  = 126
	exitNotFound    = 127
	exitSignalShift = 128 // plus the number of the signal that ended the command
)

// labVariable tells the command which kind of lab it is in: "native" or "vm".
const labVariable = "KUBE_IPVS_PROXY_LAB"

func main() {
	// Children die with the thread that started them (see dieWithParent), so this one must live on.
	runtime.LockOSThread()
	os.Exit(dispatch())
}

// dispatch picks the role: the first process of a virtual machine, the first process of a set of
// namespaces, or the command that a person or go test started.
func dispatch() int {
	if dir := os.Getenv(guestDirVariable); dir != "" && os.Getpid() == 1 {
		return guestMain(dir)
	}
	if os.Args[0] == nativeInitName {
		return nativeInit(os.Args[1:])
	}
	opt, err := parseOptions(os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return fail(err)
	}
	return hostMain(opt)
}

// hostMain runs the command where the options and the host's kernel say, and returns the exit status.
func hostMain(opt options) int {
	if os.Geteuid() != 0 {
		return fail(errors.New("namespaces and virtiofs need root: run it as root, or with sudo -E"))
	}
	native, why := chooseNative(opt)
	opt.logf("native=%t: %s", native, why)
	if native {
		status, err := runNative(opt)
		return report(status, err)
	}
	status, err := runVM(opt)
	return report(status, err)
}

func report(status int, err error) int {
	if err == nil {
		return status
	}
	fail(err)
	if errors.Is(err, errTimeout) {
		return exitTimeout
	}
	return exitLabFailed
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "lab: %v\n", err)
	return exitLabFailed
}
