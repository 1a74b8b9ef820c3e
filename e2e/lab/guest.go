package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// guestPath finds modprobe; the command gets the PATH of whoever started lab.
	guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// layersDir is where the overlay is put together, in the machine's own devtmpfs.
	layersDir = "/dev/lab"
	// sharedDir is where the host's files are mounted a second time, to bind the shared ones from.
	sharedDir = "/dev/shared"
	openFiles = 1 << 20
)

// guestMain is the first process of the virtual machine. Its end would be a kernel panic: it returns
// never, and either the host stops the machine or it is switched off here.
func guestMain(dir string) int {
	err := guest(dir)
	// The console log is the only place left.
	fmt.Fprintf(os.Stderr, "lab: virtual machine: %v\n", err)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	return exitLabFailed
}

// guest prepares the machine, runs the command and waits for the host to stop the machine. It returns only if it
// cannot tell the host what went wrong.
func guest(dir string) error {
	if err := mountAll("", kernelMounts()); err != nil {
		return err
	}
	spec, argv, environ, err := readSpec(dir)
	if err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	host := &hostLink{out: &frameWriter{w: port}, in: port}
	if err := prepareGuest(dir, spec); err != nil {
		return host.failed(err)
	}
	if err := guestForward(spec.Forward); err != nil {
		return host.failed(err)
	}
	return host.run(job{argv: argv, environ: environ, dir: spec.Dir}, spec.OneOutput)
}

func kernelMounts() []mount {
	return []mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
	}
}

// prepareGuest makes a machine that a program can live in.
func prepareGuest(dir string, spec guestSpec) error {
	if err := os.Setenv("PATH", guestPath); err != nil {
		return err
	}
	modules, err := openModules(spec.KernelTree, spec.Without)
	if err != nil {
		return err
	}
	if err := modules.load("overlay"); err != nil {
		return err
	}
	if err := enterOverlay(spec.Shares); err != nil {
		return err
	}
	if err := configureModules(spec); err != nil {
		return err
	}
	if err := modules.load(guestModules(spec)...); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: openFiles, Max: openFiles}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return err
	}
	return loopbackUp()
}

// enterOverlay makes the root a tmpfs over the host's files, shows the shared directories as they are, and
// leaves the host's root behind.
func enterOverlay(shares []string) error {
	root := layersDir + "/root"
	if err := mountAll("", []mount{{"tmpfs", layersDir, "tmpfs", 0, "mode=755,size=75%"}}); err != nil {
		return err
	}
	for _, name := range []string{"/root", "/upper", "/work"} {
		if err := os.Mkdir(layersDir+name, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", layersDir, layersDir)
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	mounts := append(kernelMounts(), scratchMounts()...)
	if len(shares) > 0 {
		mounts = append(mounts, mount{sharedTag, sharedDir, "virtiofs", 0, ""})
	}
	// The machine has one /dev, so the mount point of the shared files is there, too.
	if err := mountAll(root, mounts); err != nil {
		return err
	}
	for _, dir := range shares {
		if err := mountAll(root, []mount{{root + sharedDir + dir, dir, "", unix.MS_BIND, ""}}); err != nil {
			return err
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	// With both names the same, the old root lies on top of the new one until it is detached.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change to the overlay: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return unix.Chdir("/")
}

func scratchMounts() []mount {
	return []mount{
		{"devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777"},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""},
	}
}

// configureModules puts the kernel's modules where modprobe looks, whoever starts it: the kernel itself,
// ipvsadm, the command. An install line that fails stands for a module that does not exist.
func configureModules(spec guestSpec) error {
	version, err := kernelRelease()
	if err != nil {
		return err
	}
	if err := os.MkdirAll("/lib/modules", 0o755); err != nil {
		return err
	}
	link := filepath.Join("/lib/modules", version)
	if err := os.RemoveAll(link); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(spec.KernelTree, "lib", "modules", version), link); err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range spec.Without {
		fmt.Fprintf(&lines, "install %s /bin/false\n", name)
	}
	if err := os.MkdirAll("/etc/modprobe.d", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/modprobe.d/zz-lab.conf", []byte(lines.String()), 0o644); err != nil {
		return err
	}
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/kernel/modprobe", []byte(modprobe), 0)
}
