package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startLimit bounds a start in tests, in which other packages may compile.
const startLimit = 5 * time.Minute

// projectRoot is the checkout that the test runs in.
func projectRoot(t *testing.T) string {
	t.Helper()
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := findRoot(working)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// administrator reads the kubeconfig of a running plane back into a client.
func administrator(t *testing.T, p *plane) *apiClient {
	t.Helper()
	config, err := os.ReadFile(p.kubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`token: "(\w+)"`).FindSubmatch(config)
	ca, err := os.ReadFile(filepath.Join(p.dir, "ca.crt"))
	if err != nil || token == nil {
		t.Fatalf("no token in %s or no authority: %v", config, err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return newClient(p.port, string(token[1]), &tls.Config{RootCAs: pool})
}

// create posts an object and returns what the server made of it.
func create(t *testing.T, client *apiClient, path, object string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, client.base+path, strings.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+client.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("create at %s: %s: %s", path, response.Status, body)
	}
	return string(body)
}

// The objects that tests of a service proxy write must be accepted without any controller.
func TestPlaneTakesWhatTestsWrite(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	binaries, err := build(t.Context(), projectRoot(t), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	p, err := startPlane(ctx, binaries, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	client := administrator(t, p)
	service := create(t, client, "/api/v1/namespaces/default/services", `{"metadata":{"name":"a"},"spec":{"type":"NodePort",
		"ipFamilyPolicy":"RequireDualStack","ports":[{"name":"t","port":80},{"name":"s","port":81,"protocol":"SCTP"}]}}`)
	if !strings.Contains(service, `"10.96.`) || !strings.Contains(service, `"fd00:10:96::`) || !strings.Contains(service, `"nodePort":3`) {
		t.Errorf("the Service got no address of both families or no node port: %s", service)
	}
	create(t, client, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", `{"metadata":{"name":"a-1","labels":
		{"kubernetes.io/service-name":"a"}},"addressType":"IPv4","endpoints":[{"addresses":["10.244.1.2"]}],"ports":[{"name":"t","port":8080}]}`)
	create(t, client, "/api/v1/nodes", `{"metadata":{"name":"node-1"},"spec":{"podCIDRs":["10.244.1.0/24"]}}`)
	create(t, client, "/api/v1/namespaces/default/pods", `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	create(t, client, "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"proxy"}}`)
	create(t, client, "/api/v1/namespaces/default/serviceaccounts/proxy/token", `{"spec":{}}`)
}

func TestPlaneReportsAServerThatDies(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	bin := t.TempDir()
	for name, script := range map[string]string{"etcd": "#!/bin/sh\nexec sleep 100\n", "kube-apiserver": "#!/bin/sh\necho bad flag >&2\nexit 1\n"} {
		write(t, filepath.Join(bin, name), script)
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err := startPlane(t.Context(), bin, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended (exit status 1)") || !strings.Contains(err.Error(), "bad flag") {
		t.Errorf("got %v, want the server's status and its log", err)
	}
}

func TestPortTakenIsTold(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	bin, runs := t.TempDir(), filepath.Join(t.TempDir(), "runs")
	for _, name := range []string{"etcd", "kube-apiserver"} {
		write(t, filepath.Join(bin, name), "#!/bin/sh\necho x >>"+runs+"\necho 'bind: address already in use'\nexit 1\n")
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := startPlane(t.Context(), bin, t.TempDir()); !errors.Is(err, errPortTaken) {
		t.Errorf("got %v, want %v after several attempts", err, errPortTaken)
	}
}

// built is this module's command as a binary.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "controlplane")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestCommandStatusIsPassedOn(t *testing.T) {
	command := exec.CommandContext(t.Context(), built(t), "-start-timeout="+startLimit.String(), "sh", "-c",
		`grep -q "server: https://127.0.0.1:$LAB_FORWARD$" "$KUBECONFIG" && exit 7`)
	command.Env = append(os.Environ(), "LAB_FORWARD=")
	out, err := command.CombinedOutput()
	if command.ProcessState.ExitCode() != 7 {
		t.Fatalf("exit status %d (%v), want 7:\n%s", command.ProcessState.ExitCode(), err, out)
	}
	kept := regexp.MustCompile(`logs are in (\S+)`).FindSubmatch(out)
	if kept == nil {
		t.Fatalf("a failure does not tell where the logs are:\n%s", out)
	}
	left, err := filepath.Glob(filepath.Join(string(kept[1]), "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left %q (%v), want two logs", left, err)
	}
	if err := os.RemoveAll(string(kept[1])); err != nil {
		t.Error(err)
	}
}

// children returns the process ids of a process's children.
func children(t *testing.T, pid int) []string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	return strings.Fields(string(all))
}

func TestSignalsLeaveNoProcess(t *testing.T) {
	binary := built(t)
	for _, test := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGTERM, 128 + 15}, {syscall.SIGKILL, -1}} {
		t.Run(test.signal.String(), func(t *testing.T) {
			command := exec.CommandContext(t.Context(), binary, "-start-timeout="+startLimit.String(), "sh", "-c", "echo $KUBECONFIG; exec sleep 1000")
			output, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			command.Stderr = &log
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			config, err := bufio.NewReader(output).ReadString('\n')
			if err != nil {
				t.Fatalf("read %q: %v\n%s", config, err, log.String())
			}
			defer os.RemoveAll(filepath.Dir(config))
			started := children(t, command.Process.Pid)
			if len(started) != 3 {
				t.Errorf("children %q, want etcd, kube-apiserver and the command", started)
			}
			if err := command.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			if err := command.Wait(); command.ProcessState.ExitCode() != test.status {
				t.Errorf("ended with %v, want status %d:\n%s", err, test.status, log.String())
			}
			for _, pid := range started {
				awaitGone(t, pid)
			}
		})
	}
}

// awaitGone fails the test unless the process ends soon. What is left of one whose
// parent was killed may wait to be reaped, which counts as ended.
func awaitGone(t *testing.T, pid string) {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if errors.Is(err, os.ErrNotExist) || bytes.Contains(status, []byte("\nState:\tZ")) {
			return
		}
		select {
		case <-deadline:
			t.Errorf("process %d outlives the run:\n%s", number, status)
			return
		case <-pause():
		}
	}
}
