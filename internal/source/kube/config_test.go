package kube

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

const testKubeconfig = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inPod stands for the ServiceAccount of a Pod whose API server is at host:port.
func inPod(t *testing.T, host, port string) func() (*rest.Config, error) {
	t.Helper()
	t.Setenv(hostVariable, host)
	return func() (*rest.Config, error) {
		return &rest.Config{Host: "https://" + net.JoinHostPort(host, port), BearerToken: "pod"}, nil
	}
}

func notInPod() (*rest.Config, error) { return nil, rest.ErrNotInCluster }

func TestConfigSources(t *testing.T) {
	path := writeFile(t, testKubeconfig)
	for _, c := range []struct {
		name        string
		connection  Connection
		inCluster   func() (*rest.Config, error)
		host, token string
	}{
		{"kubeconfig", Connection{Kubeconfig: path}, notInPod, "https://192.0.2.1:6443", "secret"},
		{"kubeconfig and master", Connection{Kubeconfig: path, Master: "https://192.0.2.2:6443"}, notInPod, "https://192.0.2.2:6443", "secret"},
		{"master alone", Connection{Master: "http://192.0.2.2"}, notInPod, "http://192.0.2.2", ""},
		{"master with the Pod's account", Connection{Master: "https://192.0.2.2:6443"}, inPod(t, "203.0.113.1", "443"), "https://192.0.2.2:6443", "pod"},
	} {
		got, err := configOf(t.Context(), c.connection, c.inCluster)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.Host != c.host || got.BearerToken != c.token {
			t.Errorf("%s: %s with token %q", c.name, got.Host, got.BearerToken)
		}
		if got.ContentType != protobuf || got.AcceptContentTypes != protobufThenJSON {
			t.Errorf("%s: content types %q, %q", c.name, got.ContentType, got.AcceptContentTypes)
		}
	}
}

func TestConfigSettings(t *testing.T) {
	c := Connection{Master: "http://192.0.2.2", QPS: 7, Burst: 9, ContentType: "application/json", AcceptContentTypes: "text/x", UserAgent: "me"}
	got, err := configOf(t.Context(), c, notInPod)
	if err != nil || got.QPS != 7 || got.Burst != 9 || got.ContentType != "application/json" || got.AcceptContentTypes != "text/x" || got.UserAgent != "me" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestConfigErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct{ name, kubeconfig, says string }{
		{"nothing", "", "--kubeconfig"},
		{"missing file", filepath.Join(t.TempDir(), "none"), "give the path"},
		{"empty file", writeFile(t, ""), "current-context"},
		{"broken file", writeFile(t, "clusters: 7"), "reading the kubeconfig"},
	} {
		// The ServiceAccount must not be a silent second choice.
		inCluster := notInPod
		if c.kubeconfig != "" {
			inCluster = func() (*rest.Config, error) { return &rest.Config{Host: "https://wrong"}, nil }
		}
		_, err := configOf(t.Context(), Connection{Kubeconfig: c.kubeconfig}, inCluster)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q", c.name, err, c.says)
		}
	}
}

// After a reboot nothing serves the ClusterIP by which a Pod is told to reach the API server.
func TestConfigRefusesUnservedClusterIP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	inCluster := inPod(t, host, port)
	if _, err := configOf(t.Context(), Connection{}, inCluster); err != nil {
		t.Errorf("while something answers: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = configOf(t.Context(), Connection{}, inCluster)
	if !errors.Is(err, ErrClusterIPUnreachable) || !strings.Contains(err.Error(), "--master") {
		t.Errorf("once nothing answers: %v", err)
	}
	byName := writeFile(t, strings.ReplaceAll(testKubeconfig, "192.0.2.1:6443", net.JoinHostPort(host, port)))
	if _, err := configOf(t.Context(), Connection{Kubeconfig: byName}, notInPod); !errors.Is(err, ErrClusterIPUnreachable) {
		t.Errorf("a kubeconfig with the ClusterIP: %v", err)
	}
	if _, err := configOf(t.Context(), Connection{Master: "https://127.0.0.2:1"}, inCluster); err != nil {
		t.Errorf("an address that is no ClusterIP must not be tried: %v", err)
	}
}

func TestEndpointOfURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://10.96.0.1":     "10.96.0.1:443",
		"http://10.96.0.1/x":    "10.96.0.1:80",
		"https://[fd00::1]:643": "[fd00::1]:643",
		"10.96.0.1:6443":        "10.96.0.1:6443",
		"10.96.0.1":             "10.96.0.1:443",
	} {
		if got := net.JoinHostPort(endpoint(url)); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
