package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// modulePath is where this module lies below the project root.
	modulePath = "e2e/controlplane"
	// progressInterval is the time between two progress lines of a build.
	progressInterval = 10 * time.Second
	// linkerFlags drops symbols, and gives the Kubernetes binaries the version that a
	// release build of theirs reports.
	linkerFlags = "-s -w -X k8s.io/component-base/version.gitVersion=%s" +
		" -X k8s.io/component-base/version.gitMajor=%s -X k8s.io/component-base/version.gitMinor=%s"
	// stampName is the file beside the binaries that says what they were built from.
	stampName = "controlplane.stamp"
	// errorLines bounds how much of a failed build's output is repeated.
	errorLines = 40
)

// errNoRoot says that the command was started outside the project.
var errNoRoot = errors.New("no directory here or above has " + modulePath + "/go.mod: run it inside the project's checkout")

// program is one binary to build.
type program struct {
	name, importPath string
}

// programs are the binaries of a control plane, and the kube-proxy and kubectl of its release.
func programs() []program {
	return []program{
		{"etcd", "go.etcd.io/etcd/server/v3"},
		{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
		{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"},
		{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
	}
}

// findRoot returns the project root at or above dir.
func findRoot(dir string) (string, error) {
	for {
		if _, err := os.Stat(filepath.Join(dir, modulePath, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errNoRoot
		}
		dir = parent
	}
}

// build makes sure that .cache/bin below root has every program, built from the
// module's present pins, and returns that directory. Progress goes to log.
func build(ctx context.Context, root string, log io.Writer) (string, error) {
	module := filepath.Join(root, modulePath)
	binaries := filepath.Join(root, ".cache", "bin")
	if err := os.MkdirAll(binaries, 0o755); err != nil {
		return "", fmt.Errorf("make the directory for binaries: %w", err)
	}
	unlock, err := lockDirectory(binaries)
	if err != nil {
		return "", err
	}
	defer unlock()
	pins, err := readPins(module)
	if err != nil {
		return "", err
	}
	stamp := filepath.Join(binaries, stampName)
	if upToDate(binaries, stamp, pins.digest) {
		return binaries, nil
	}
	for _, program := range programs() {
		if err := buildProgram(ctx, module, program, filepath.Join(binaries, program.name), pins, log); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(stamp, []byte(pins.digest+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("record what the binaries were built from: %w", err)
	}
	return binaries, nil
}

// lockDirectory keeps two runs from building into one directory at once.
func lockDirectory(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, "controlplane.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the build lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("wait for another build in %s: %w", dir, err)
	}
	return func() { file.Close() }, nil
}

// pins is what decides the binaries' content.
type pins struct {
	// kubernetes is the release, such as v1.37.2.
	kubernetes string
	// digest changes whenever the binaries would.
	digest string
}

// readPins reads the pins of the module in dir.
func readPins(dir string) (pins, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return pins{}, fmt.Errorf("read the pinned versions: %w", err)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return pins{}, fmt.Errorf("read the pinned checksums: %w", err)
	}
	version := pinnedVersion(string(mod), "k8s.io/kubernetes")
	if version == "" {
		return pins{}, fmt.Errorf("%s/go.mod requires no k8s.io/kubernetes: add it", dir)
	}
	hash := sha256.New()
	for _, part := range [][]byte{mod, sum, []byte(runtime.Version()), []byte(linkerFlags)} {
		fmt.Fprintf(hash, "%d\n", len(part))
		hash.Write(part)
	}
	return pins{kubernetes: version, digest: hex.EncodeToString(hash.Sum(nil))}, nil
}

// pinnedVersion returns the version a go.mod requires of module, or "".
func pinnedVersion(mod, module string) string {
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return ""
}

// versionFlags fills linkerFlags for a release such as v1.37.2.
func versionFlags(release string) string {
	parts := strings.SplitN(strings.TrimPrefix(release, "v"), ".", 3)
	for len(parts) < 2 {
		parts = append(parts, "0")
	}
	return fmt.Sprintf(linkerFlags, release, parts[0], parts[1])
}

// upToDate reports whether every program is there and was built from digest.
func upToDate(binaries, stamp, digest string) bool {
	content, err := os.ReadFile(stamp)
	if err != nil || strings.TrimSpace(string(content)) != digest {
		return false
	}
	for _, program := range programs() {
		if _, err := os.Stat(filepath.Join(binaries, program.name)); err != nil {
			return false
		}
	}
	return true
}

// buildProgram builds one program into target.
func buildProgram(ctx context.Context, module string, p program, target string, pinned pins, log io.Writer) error {
	arguments := []string{"go", "build", "-v", "-buildvcs=false", "-ldflags", versionFlags(pinned.kubernetes), "-o", target, p.importPath}
	// Minutes of compiling should not starve whatever else the machine does.
	if nice, err := exec.LookPath("nice"); err == nil {
		arguments = append([]string{nice, "-n", "10"}, arguments...)
	}
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Dir = module
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// Compilers end with the build, not some time after it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	followed := make(chan []string, 1)
	go func() { followed <- follow(reader, p.name, log) }()
	err := command.Run()
	writer.Close()
	if lines := <-followed; err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", p.importPath, module, err, strings.Join(lines, "\n"))
	}
	return nil
}

// follow turns a build's output, one package a line, into a progress line every
// progressInterval, and returns the output's last lines.
func follow(output io.Reader, name string, log io.Writer) []string {
	started := time.Now()
	var packages atomic.Int64
	report := func(state string) {
		fmt.Fprintf(log, "controlplane: %s %s: %d packages compiled, %s\n",
			state, name, packages.Load(), time.Since(started).Round(time.Second))
	}
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-ticker.C:
				report("building")
			case <-done:
				return
			}
		}
	}()
	var last []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		packages.Add(1)
		last = append(last, lines.Text())
		last = last[max(0, len(last)-errorLines):]
	}
	report("finished with")
	return last
}
