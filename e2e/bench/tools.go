package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tools are the programs that contestants start.
func tools() []string {
	return []string{"ip", "ipset", "ipvsadm", "nft", "conntrack", "iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save",
		"ip6tables-restore"}
}

// installation is a directory in memory with everything that the contestants run. Starting a program from a file system that
// a virtual machine shares with its host takes seconds, which no node would need.
type installation struct{ dir string }

// install copies the programs, the tools and the libraries of the latter.
func install(programs ...string) (installation, error) {
	dir, err := os.MkdirTemp("/dev/shm", "bench-")
	if err != nil {
		return installation{}, err
	}
	i := installation{dir}
	for _, program := range programs {
		if err := copyFile(program, filepath.Join(dir, filepath.Base(program))); err != nil {
			return i, err
		}
	}
	for _, tool := range tools() {
		if err := i.add(tool); err != nil {
			return i, fmt.Errorf("install %s: %w; run make lab-deps", tool, err)
		}
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil {
		return i, err
	}
	for _, extension := range extensions {
		if err := copyFile(extension, filepath.Join(dir, "xtables", filepath.Base(extension))); err != nil {
			return i, err
		}
	}
	return i, nil
}

// remove takes everything away again.
func (i installation) remove() { _ = os.RemoveAll(i.dir) }

// add copies a tool and its libraries. Tools that are one program by several names remain so.
func (i installation) add(tool string) error {
	path, err := exec.LookPath(tool)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	to := filepath.Join(i.dir, filepath.Base(path))
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(copyFile(path, to), i.addLibraries(path)); err != nil {
			return err
		}
	}
	if filepath.Base(path) == tool {
		return nil
	}
	return os.Symlink(filepath.Base(path), filepath.Join(i.dir, tool))
}

// addLibraries copies the shared libraries of a program, as the loader lists them: "name => path (address)".
func (i installation) addLibraries(program string) error {
	listed, err := exec.Command("ldd", program).Output()
	if err != nil {
		return fmt.Errorf("list the libraries of %s: %w", program, err)
	}
	for line := range strings.Lines(string(listed)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != "=>" {
			continue
		}
		if err := copyFile(fields[2], filepath.Join(i.dir, "lib", fields[0])); err != nil {
			return err
		}
	}
	return nil
}

// environment is that of a process which uses the installation and nothing else.
func (i installation) environment() []string {
	return append(os.Environ(), "PATH="+i.dir, "LD_LIBRARY_PATH="+filepath.Join(i.dir, "lib"),
		"XTABLES_LIBDIR="+filepath.Join(i.dir, "xtables"))
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o755))
}

// programsOf returns the paths of what contestants need installed.
func programsOf(o options, all []contestant) []string {
	var paths []string
	for _, c := range all {
		if path := filepath.Join(o.Programs, c.program); c.program != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}
