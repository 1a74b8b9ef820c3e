package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the sockets and logs in the directory of one run.
const (
	portSocket = "port.sock"
	initFile   = "init"
	qemuLog    = "qemu.log"
)

// Tags of the two ways in which the machine sees the host's files. The root lies below an overlay and may be cached for good: a program starts seven times faster. What
// is shared both ways must show the other side's changes.
const (
	rootTag   = "root"
	sharedTag = "shared"
)

// qemuArgs is QEMU's command line for one run in dir with so many CPUs: an otherwise empty machine with the host's files as its root,
// one virtio-serial port, a console that goes to a file, and a network card only if ports are forwarded.
func qemuArgs(opt options, k kernel, dir, console string, cpus int) []string {
	memory := fmt.Sprintf("%dM", opt.vm.memoryMiB)
	accel, cpu := opt.vm.accel, "max"
	if accel == "tcg" {
		accel = "tcg,thread=multi"
	} else {
		cpu = "host"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,memory-backend=memory,usb=off,vmport=off",
		"-accel", accel, "-cpu", cpu, "-smp", fmt.Sprint(cpus), "-m", memory,
		// virtiofsd reads and writes the machine's memory, which must therefore be shared.
		"-object", "memory-backend-memfd,id=memory,share=on,size=" + memory,
		"-kernel", k.image, "-append", kernelArgs(dir),
		"-chardev", "socket,id=root,path=" + filepath.Join(dir, socketName(rootTag)),
		"-device", "vhost-user-fs-pci,queue-size=1024,chardev=root,tag=" + rootTag,
		"-chardev", "socket,id=shared,path=" + filepath.Join(dir, socketName(sharedTag)),
		"-device", "vhost-user-fs-pci,queue-size=1024,chardev=shared,tag=" + sharedTag,
		"-chardev", "socket,id=port,path=" + filepath.Join(dir, portSocket),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name=" + portName,
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
	}
	if len(opt.forward) > 0 {
		args = append(args, "-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=")
	}
	return args
}

// chooseCPUs picks the number of virtual CPUs if none is asked for. Before 8.1 QEMU could let one emulated CPU run
// instructions that another had just replaced, and Linux, which patches its own code while it runs, dies of
// that now and then ("Oops: int3"); one CPU cannot. Fixed by QEMU's commit "accel/tcg: Always lock pages
// before translation".
func chooseCPUs(asked int, accel, version string) int {
	switch {
	case asked > 0:
		return asked
	case accel == "tcg" && slices.Compare(qemuVersion(version), []int{8, 1}) < 0:
		return 1
	default:
		return 2
	}
}

// qemuVersion takes the numbers from "QEMU emulator version 7.2.22 (Debian ...)".
func qemuVersion(output string) []int {
	_, after, _ := strings.Cut(output, "version ")
	number, _, _ := strings.Cut(after, " ")
	return numbers(number)
}

func kernelArgs(dir string) string {
	return strings.Join([]string{
		"rootfstype=virtiofs", "root=" + rootTag, "rw", "init=" + filepath.Join(dir, initFile),
		guestDirVariable + "=" + dir,
		// A panic ends QEMU (-no-reboot) instead of hanging until the time limit.
		"console=ttyS0", "quiet", "panic=-1", "mitigations=off", "random.trust_cpu=on", "nokaslr",
	}, " ")
}

// socketName is the name of a file server's socket in the directory of a run.
func socketName(tag string) string { return tag + ".sock" }

// virtiofsdArgs suits both the C and the Rust virtiofsd. The listening socket is file descriptor 3.
func virtiofsdArgs(tag string) []string {
	cache := "always"
	if tag == sharedTag {
		cache = "auto"
	}
	return []string{"--fd=3", "-o", "source=/", "-o", "cache=" + cache, "-o", "sandbox=chroot"}
}

// findVirtiofsd looks where Debian and Ubuntu put it: never on PATH.
func findVirtiofsd() (string, error) {
	for _, path := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", errors.New("virtiofsd not found: run make lab-deps")
}

func findQEMU() (string, error) {
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return "", errors.New("qemu-system-x86_64 not found: run make lab-deps")
	}
	return path, nil
}
