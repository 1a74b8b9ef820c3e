package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// containerVariable holds the container that a process of this program is to become, as JSON.
const containerVariable = "KUBE_IPVS_PROXY_E2E_CONTAINER"

// notStarted is the exit status of a container that could not be made.
const notStarted = 126

// container is what a process may see and do. The process is in a mount namespace of its own, and in a node's network.
type container struct {
	Scratch      string // an empty directory to build the root in
	Image        string // the root directory of an image, or the daemon's program alone
	Volumes      []volume
	Privileged   bool
	ReadOnlyRoot bool
	NoNewPrivs   bool
	Capabilities []string // without CAP_; all if it is privileged
	OOMScoreAdj  int
	Command      []string
	Env          []string
}

// volume shows a file or directory of the machine in the container.
type volume struct {
	Source, Target string
	ReadOnly       bool
}

// entrypoint is where the image has the daemon.
const entrypoint = "/kube-ipvs-proxy"

// becomeContainer makes the present process a container's first one. It returns only when that fails.
func becomeContainer(spec string) error {
	runtime.LockOSThread() // privileges are a thread's, and the one that executes hands on its own
	var c container
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(c.OOMScoreAdj)), 0); err != nil {
		return err
	}
	if err := errors.Join(c.mountRoot(), c.mountKernel(), c.mountVolumes()); err != nil {
		return err
	}
	if c.ReadOnlyRoot {
		if err := unix.Mount("", c.Scratch, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the root read-only: %w", err)
		}
	}
	if err := errors.Join(unix.Chroot(c.Scratch), unix.Chdir("/")); err != nil {
		return fmt.Errorf("change to the container's root: %w", err)
	}
	if err := c.dropPrivileges(); err != nil {
		return err
	}
	return fmt.Errorf("execute %s: %w", c.Command[0], unix.Exec(c.Command[0], c.Command, c.Env))
}

// mountRoot mounts an empty root with what the image has.
func (c container) mountRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("root", c.Scratch, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount the container's root: %w", err)
	}
	if err := os.Mkdir(filepath.Join(c.Scratch, "tmp"), 0o1777); err != nil {
		return err
	}
	info, err := os.Stat(c.Image)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return c.borrowPrograms()
	}
	for _, name := range []string{entrypoint, "/usr", "/lib", "/lib64"} {
		if _, err := os.Stat(c.Image + name); os.IsNotExist(err) {
			continue
		}
		if err := c.show(volume{c.Image + name, name, true}); err != nil {
			return err
		}
	}
	return nil
}

// borrowPrograms puts this machine's programs beside the daemon.
func (c container) borrowPrograms() error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(c.Scratch, name)); err != nil {
			return err
		}
	}
	return errors.Join(
		c.show(volume{c.Image, entrypoint, true}),
		c.show(volume{"/usr", "/usr", true}),
		c.show(volume{"/etc/alternatives", "/etc/alternatives", true}))
}

// mountKernel mounts /proc and /sys as container runtimes do: what a privileged container may write, others may read.
func (c container) mountKernel() error {
	var flags uintptr = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	proc, sys := filepath.Join(c.Scratch, "proc"), filepath.Join(c.Scratch, "sys")
	if err := errors.Join(os.Mkdir(proc, 0o555), os.Mkdir(sys, 0o555)); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", flags, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if !c.Privileged {
		flags |= unix.MS_RDONLY
		if err := bind(proc+"/sys", proc+"/sys", true); err != nil {
			return err
		}
	}
	if err := unix.Mount("sysfs", sys, "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return c.show(volume{"/dev/null", "/dev/null", false})
}

func (c container) mountVolumes() error {
	for _, v := range c.Volumes {
		if err := c.show(v); err != nil {
			return err
		}
	}
	return nil
}

// show makes a mount point in the container's root and binds a volume to it.
func (c container) show(v volume) error {
	target := filepath.Join(c.Scratch, v.Target)
	info, err := os.Stat(v.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return bind(v.Source, target, v.ReadOnly)
}

func bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s at %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

// capabilityNumbers are those of linux/capability.h that tests and the manifests name.
func capabilityNumbers() map[string]int {
	return map[string]int{"NET_ADMIN": unix.CAP_NET_ADMIN, "NET_RAW": unix.CAP_NET_RAW,
		"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE}
}

// dropPrivileges leaves the capabilities of the list in the bounding, permitted and effective set, and none in the others.
func (c container) dropPrivileges() error {
	if c.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("forbid new privileges: %w", err)
		}
	}
	if c.Privileged {
		return nil
	}
	var kept []int
	for _, name := range c.Capabilities {
		number, known := capabilityNumbers()[name]
		if !known {
			return fmt.Errorf("capability %s is not in the list of this test", name)
		}
		kept = append(kept, number)
	}
	for number := 0; number <= unix.CAP_LAST_CAP; number++ {
		if slices.Contains(kept, number) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(number), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", number, err) // EINVAL: this kernel has fewer
		}
	}
	var sets [2]unix.CapUserData
	for _, number := range kept {
		sets[number/32].Permitted |= 1 << (number % 32)
		sets[number/32].Effective |= 1 << (number % 32)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("keep %s alone: %w", strings.Join(c.Capabilities, " "), err)
	}
	return nil
}
