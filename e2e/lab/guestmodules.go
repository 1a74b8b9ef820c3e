package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleTree loads modules of an unpacked kernel package without modprobe: starting a program several
// times costs more than the rest of the set-up.
type moduleTree struct {
	dir     string              // lib/modules/VERSION
	needs   map[string][]string // name to its file and those of its dependencies, below dir, last first
	without []string
}

// guestModules names what is loaded before the command starts: what a node with kube-proxy has, and what
// the kernel would not load by itself when it is first used.
func guestModules(spec guestSpec) []string {
	names := []string{"ip_vs", "br_netfilter"}
	if spec.Preload {
		names = labModules()
	}
	if len(spec.Forward) > 0 {
		names = append(names, "virtio_net")
	}
	return names
}

func openModules(tree string, without []string) (*moduleTree, error) {
	version, err := kernelRelease()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(tree, "lib", "modules", version)
	file, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	needs, err := parseModulesDep(file)
	return &moduleTree{dir: dir, needs: needs, without: without}, err
}

// parseModulesDep reads modules.dep(5): a line for each module, "FILE: FILE...", whose dependencies are listed
// with the one to load first at the end.
func parseModulesDep(r io.Reader) (map[string][]string, error) {
	needs := map[string][]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		file, dependencies, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep: no colon in %q", lines.Text())
		}
		needs[moduleName(file)] = append([]string{file}, strings.Fields(dependencies)...)
	}
	return needs, lines.Err()
}

// moduleName is the module's name as /proc/modules has it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// load loads the modules and what they need, except what -without forbids and what is built in or unknown.
func (t *moduleTree) load(names ...string) error {
	for _, name := range names {
		files := t.needs[name]
		if slices.ContainsFunc(files, func(file string) bool { return slices.Contains(t.without, moduleName(file)) }) {
			continue
		}
		for _, file := range slices.Backward(files) {
			if err := insertModule(filepath.Join(t.dir, file)); err != nil {
				return err
			}
		}
	}
	return nil
}

func insertModule(path string) error {
	if hasModule(moduleName(path)) {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(file.Fd()), "", flags)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

func kernelRelease() (string, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(uname.Release[:]), nil
}
