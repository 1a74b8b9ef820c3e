package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// environment is what a run offers to its tests.
type environment struct {
	binary     string // the daemon's
	kubeconfig string
	port       uint16 // of the API server on 127.0.0.1
	client     kubernetes.Interface
}

// binaryName is where make build puts the daemon, below the module's root.
const binaryName = ".cache/bin/kube-ipvs-proxy"

// Require checks that the run has what tests need. If something is missing, the test fails when the run is meant to have
// it, and else skips.
func Require(t testing.TB) {
	t.Helper()
	require(t)
}

func require(t testing.TB) environment {
	t.Helper()
	env, err := findEnvironment()
	if err != nil {
		lacks(t, err)
	}
	return env
}

// Binary returns the daemon's path, for tests that need a kernel with IPVS and no API server. What is missing is dealt with as
// in [Require].
func Binary(t testing.TB) string {
	t.Helper()
	err := checkKernel()
	var binary string
	if err == nil {
		binary, err = findBinary()
	}
	if err != nil {
		lacks(t, err)
	}
	return binary
}

// APIPort is the API server's port on 127.0.0.1, to be forwarded into a namespace. What is missing is dealt with as in [Require].
func APIPort(t testing.TB) uint16 {
	t.Helper()
	return require(t).port
}

// lacks fails a test that the run has not got everything for, if it is meant to have it, and else skips it.
func lacks(t testing.TB, missing error) {
	t.Helper()
	err := fmt.Errorf("%w; run make e2e, or for this one make e2e RUN='^%s$'", missing, t.Name())
	if os.Getenv("KUBE_IPVS_PROXY_E2E") == "1" || os.Getenv("KUBE_IPVS_PROXY_BINARY") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func findEnvironment() (environment, error) {
	if err := checkKernel(); err != nil {
		return environment{}, err
	}
	binary, err := findBinary()
	if err != nil {
		return environment{}, err
	}
	env := environment{binary: binary, kubeconfig: os.Getenv("KUBECONFIG")}
	if env.kubeconfig == "" {
		return env, errors.New("KUBECONFIG is not set, so there is no API server (.cache/bin/controlplane starts one)")
	}
	config, err := clientcmd.BuildConfigFromFlags("", env.kubeconfig)
	if err != nil {
		return env, fmt.Errorf("read KUBECONFIG: %w", err)
	}
	// The tests' own haste is not what is tested.
	config.QPS, config.Burst, config.WarningHandler = 1000, 1000, rest.NoWarnings{}
	if env.port, err = portOf(config.Host); err != nil {
		return env, fmt.Errorf("KUBECONFIG %s: %w", env.kubeconfig, err)
	}
	env.client, err = kubernetes.NewForConfig(config)
	return env, err
}

// portOf returns the port of a server on 127.0.0.1, which is all that can be forwarded into a namespace.
func portOf(server string) (uint16, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(parsed.Port(), 10, 16)
	if err != nil || parsed.Hostname() != "127.0.0.1" {
		return 0, fmt.Errorf("the server is %s, want https://127.0.0.1:PORT, as .cache/bin/controlplane writes it", server)
	}
	return uint16(port), nil
}

// checkKernel reports whether namespaces and IPVS can be had here.
func checkKernel() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if output, err := exec.Command("ipvsadm", "-Ln").CombinedOutput(); err != nil {
		return fmt.Errorf("no IPVS here (go test -exec .cache/bin/lab runs where it is): ipvsadm -Ln: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// findBinary returns the daemon's path: that of KUBE_IPVS_PROXY_BINARY, or what make build built.
func findBinary() (string, error) {
	binary := os.Getenv("KUBE_IPVS_PROXY_BINARY")
	if binary == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		binary = filepath.Join(root, binaryName)
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("the daemon is not built: %w (make build)", err)
	}
	return nearby(binary)
}

// nearby copies a program into the directory for temporary files, once for this process, and returns the copy's path.
// The lab's machine reads the host's files over virtiofs, from where a program of this size takes seconds to start each time.
func nearby(binary string) (string, error) {
	name := filepath.Join(os.TempDir(), fmt.Sprintf("%s-e2e-%d", filepath.Base(binary), os.Getpid()))
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	part, err := os.CreateTemp(os.TempDir(), filepath.Base(name))
	if err != nil {
		return "", err
	}
	_, err = part.Write(content)
	if err := errors.Join(err, part.Chmod(0o755), part.Close()); err != nil {
		return "", fmt.Errorf("copy the daemon: %w", err)
	}
	return name, os.Rename(part.Name(), name)
}

// Main runs a package's tests, removes what this package has left, and returns the status to exit with. It is for TestMain.
func Main(m *testing.M) (status int) {
	status = m.Run()
	if err := Clean(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// Clean removes what the package has left in the directory for temporary files. It is for a TestMain that cannot use [Main].
func Clean() error {
	copies, err := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("*-e2e-%d", os.Getpid())))
	for _, name := range copies {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// moduleRoot is the nearest directory above with a go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above %s", start)
		}
	}
}
