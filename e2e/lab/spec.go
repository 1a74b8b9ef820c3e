package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// guestDirVariable reaches the first process of the virtual machine through the kernel's command line.
const guestDirVariable = "LAB_GUEST"

// guestSpec is what the first process of the virtual machine has to do, besides the command's
// arguments and environment, which travel in NUL-separated files because they need not be UTF-8.
type guestSpec struct {
	Dir        string   // working directory of the command
	Shares     []string // directories mounted straight from the host, parents first
	Without    []string // modules that must not load
	Preload    bool     // load everything beforehand instead of on demand
	Forward    []int    // ports of 127.0.0.1 that lead to the host
	KernelTree string   // unpacked kernel package
	OneOutput  bool     // standard output and error are one file on the host: keep their order
	Hostname   string
}

const (
	specFile    = "guest.json"
	argvFile    = "argv"
	environFile = "environ"
)

func writeSpec(dir string, spec guestSpec, argv, environ []string) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	files := map[string][]byte{specFile: data, argvFile: joinNUL(argv), environFile: joinNUL(environ)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readSpec(dir string) (spec guestSpec, argv, environ []string, err error) {
	contents := map[string][]byte{}
	for _, name := range []string{specFile, argvFile, environFile} {
		if contents[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return spec, nil, nil, err
		}
	}
	if err = json.Unmarshal(contents[specFile], &spec); err != nil {
		return spec, nil, nil, fmt.Errorf("%s: %w", specFile, err)
	}
	return spec, splitNUL(contents[argvFile]), splitNUL(contents[environFile]), nil
}

// joinNUL ends each item with a NUL, as /proc/PID/cmdline does, so that empty items survive.
func joinNUL(items []string) []byte {
	var out strings.Builder
	for _, item := range items {
		out.WriteString(item)
		out.WriteByte(0)
	}
	return []byte(out.String())
}

func splitNUL(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// withLabVariable returns environ with labVariable set to where, and nothing else changed.
func withLabVariable(environ []string, where mode) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		return strings.HasPrefix(entry, labVariable+"=")
	})
	return append(out, labVariable+"="+string(where))
}

// sharedDirs lists the directories whose changes must reach the host: the working directory, what
// -share names, and where a go test binary was told to put its results (its own directory under
// go-build, -test.outputdir, GOCOVERDIR). Symbolic links are resolved; the root is never shared.
func sharedDirs(workDir string, opt options, getenv func(string) string) ([]string, error) {
	wanted := append([]string{workDir}, opt.share...)
	program := opt.command[0]
	if strings.HasSuffix(program, ".test") && strings.Contains(program, "/go-build") {
		wanted = append(wanted, filepath.Dir(program))
	}
	for _, arg := range opt.command[1:] {
		if dir, ok := strings.CutPrefix(arg, "-test.outputdir="); ok {
			wanted = append(wanted, dir)
		}
	}
	if dir := getenv("GOCOVERDIR"); dir != "" {
		wanted = append(wanted, dir)
	}
	var dirs []string
	for _, dir := range wanted {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(workDir, dir)
		}
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return nil, fmt.Errorf("directory to share with the virtual machine: %w", err)
		}
		if info, err := os.Stat(resolved); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%s cannot be shared with the virtual machine: not a directory", resolved)
		}
		if resolved != "/" {
			dirs = append(dirs, resolved)
		}
	}
	// Sorted, a parent comes before what is below it, and so does its mount.
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}
