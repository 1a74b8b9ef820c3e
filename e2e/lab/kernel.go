package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernelPackage matches Debian's kernels for virtual machines. They have virtio-pci and virtiofs built in, so
// they boot without an initrd. The capture is the version, which is part of the name.
const kernelPackage = `^linux-image-([0-9]+\.[0-9]+\.[0-9]+\S*)-cloud-amd64(-unsigned)?$`

const kernelSearch = `^linux-image-.*-cloud-amd64`

// unfinished begins the names of directories in which a kernel is being made ready.
const unfinished = ".unfinished-"

var errNoKernel = errors.New("no linux-image-*-cloud-amd64 package in apt's lists: " +
	"unpack a kernel with virtiofs built in (dpkg -x) and name the directory with -kernel, or run with -native")

// kernel is an unpacked kernel package.
type kernel struct {
	tree    string // holds lib/modules/VERSION
	version string // as uname -r prints it
	image   string // for QEMU's -kernel
}

// openKernel describes the unpacked package in tree.
func openKernel(tree string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil {
		return kernel{}, err
	}
	if len(images) != 1 {
		return kernel{}, fmt.Errorf("%s holds %d kernels in boot/, want 1: remove the directory and run again", tree, len(images))
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	modules := filepath.Join(tree, "lib", "modules", version, "modules.dep")
	if _, err := os.Stat(modules); err != nil {
		return kernel{}, fmt.Errorf("kernel modules: %w: run depmod -b %s %s", err, tree, version)
	}
	k := kernel{tree: tree, version: version, image: images[0]}
	if unpacked := unpackedImage(tree, version); isFile(unpacked) {
		k.image = unpacked
	}
	return k, nil
}

func unpackedImage(tree, version string) string {
	return filepath.Join(tree, "boot", "vmlinux-"+version)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// ensureKernel returns the newest kernel of the cache; it fetches one if there is none.
func ensureKernel(cache string) (kernel, error) {
	dir := filepath.Join(cache, "kernel")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kernel{}, err
	}
	lock, err := lockAny([]string{filepath.Join(cache, "setup.lock")}, func() { progress("waiting for another lab's set-up") })
	if err != nil {
		return kernel{}, err
	}
	defer lock.release()
	if err := removeUnfinished(dir); err != nil {
		return kernel{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return kernel{}, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	if name, ok := chooseKernel(names); ok {
		return openKernel(filepath.Join(dir, name))
	}
	return fetchKernel(dir)
}

// removeUnfinished removes what killed set-ups left behind; the caller holds the lock.
func removeUnfinished(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// fetchKernel downloads and unpacks the newest kernel package below dir. Nothing shows under its final
// name before it is whole.
func fetchKernel(dir string) (kernel, error) {
	work, err := os.MkdirTemp(dir, unfinished)
	if err != nil {
		return kernel{}, err
	}
	defer os.RemoveAll(work)
	name, err := downloadKernel(work)
	if err != nil {
		return kernel{}, err
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(archives) != 1 {
		return kernel{}, fmt.Errorf("apt-get download %s left %d .deb files, want 1 (%w)", name, len(archives), err)
	}
	tree := filepath.Join(work, "tree")
	if _, err := command(work, "dpkg", "-x", archives[0], tree); err != nil {
		return kernel{}, err
	}
	if err := prepareModules(tree); err != nil {
		return kernel{}, err
	}
	k, err := openKernel(tree)
	if err != nil {
		return kernel{}, err
	}
	err = unpackKernel(k.image, unpackedImage(tree, k.version))
	if err != nil && !errors.Is(err, errNotUnpackable) {
		return kernel{}, err
	}
	if err := os.Rename(tree, filepath.Join(dir, name)); err != nil {
		return kernel{}, err
	}
	return openKernel(filepath.Join(dir, name))
}

// downloadKernel fetches the newest package into work and returns its name. Package lists that
// are missing or too old are refreshed once.
func downloadKernel(work string) (string, error) {
	name, err := fetchNewest(work)
	if err == nil {
		return name, nil
	}
	progress("apt-get update, because: %v", err)
	if _, err := command(work, "apt-get", "update", "-qq"); err != nil {
		return "", err
	}
	return fetchNewest(work)
}

func fetchNewest(work string) (string, error) {
	found, err := command(work, "apt-cache", "search", "--names-only", kernelSearch)
	if err != nil {
		return "", fmt.Errorf("%w: the virtual machine's kernel comes from Debian's packages; give one with -kernel", err)
	}
	name, ok := chooseKernel(packageNames(found))
	if !ok {
		return "", errNoKernel
	}
	progress("fetching %s, once", name)
	// apt's own sandbox user may not write here.
	_, err = command(work, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name)
	return name, err
}

// prepareModules makes lib/modules what depmod and modprobe expect, with plain modules: unpacking them
// at every boot under emulation costs more than the disk space.
func prepareModules(tree string) error {
	if _, err := os.Stat(filepath.Join(tree, "lib")); os.IsNotExist(err) {
		if err := os.Symlink("usr/lib", filepath.Join(tree, "lib")); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("xz"); err == nil {
		modules := filepath.Join(tree, "lib", "modules") + "/"
		if _, err := command(tree, "find", modules, "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"); err != nil {
			return err
		}
	}
	versions, err := filepath.Glob(filepath.Join(tree, "lib", "modules", "*"))
	if err != nil {
		return err
	}
	for _, dir := range versions {
		if _, err := command(tree, "depmod", "-b", tree, filepath.Base(dir)); err != nil {
			return err
		}
	}
	return nil
}

// packageNames takes the names from the output of apt-cache search.
func packageNames(search string) []string {
	var names []string
	for line := range strings.Lines(search) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// chooseKernel picks the kernel package with the highest version; of two with the same, the unsigned
// one, which Debian publishes first. Other names are ignored.
func chooseKernel(names []string) (string, bool) {
	pattern := regexp.MustCompile(kernelPackage)
	var best string
	var bestVersion []int
	for _, name := range names {
		match := pattern.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		version := numbers(match[1])
		order := slices.Compare(version, bestVersion)
		if best == "" || order > 0 || order == 0 && len(name) > len(best) {
			best, bestVersion = name, version
		}
	}
	return best, best != ""
}

// numbers returns the decimal numbers in text, in order.
func numbers(text string) []int {
	var out []int
	for _, digits := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(digits); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// command runs a tool in dir and returns its standard output. The error holds what it printed.
func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = dieWithParent()
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%s not found: run make lab-deps", name)
		}
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
}
