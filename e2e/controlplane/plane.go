package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// startAttempts bounds how often a start is repeated because another process
	// took one of the free ports first.
	startAttempts = 3
	// readyInterval is the pause between two questions to a starting server.
	readyInterval = 100 * time.Millisecond
	// requestTimeout bounds each of those questions.
	requestTimeout = 5 * time.Second
	// answerLimit bounds how much of an answer is read, in bytes.
	answerLimit = 1 << 20
)

// errPortTaken says that a server found its port occupied.
var errPortTaken = errors.New("a port was taken before the server could listen on it")

// plane is a running control plane.
type plane struct {
	dir       string
	port      int
	processes []*process
}

// pause is the time between two attempts.
func pause() <-chan time.Time { return time.After(readyInterval) }

// startPlane starts etcd and kube-apiserver from the binaries' directory with
// their files in dir, and returns once kube-apiserver serves.
func startPlane(ctx context.Context, binaries, dir string) (*plane, error) {
	var err error
	for range startAttempts {
		var p *plane
		if p, err = tryStart(ctx, binaries, dir); err == nil {
			return p, nil
		}
		if !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("gave up after %d attempts: %w", startAttempts, err)
}

// tryStart is one attempt with one set of ports.
func tryStart(ctx context.Context, binaries, dir string) (_ *plane, err error) {
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		return nil, fmt.Errorf("remove an earlier attempt's data: %w", err)
	}
	numbers, err := freePorts()
	if err != nil {
		return nil, err
	}
	client, err := prepare(dir, numbers)
	if err != nil {
		return nil, err
	}
	p := &plane{dir: dir, port: numbers.api}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	// Both at once: kube-apiserver waits for etcd by itself.
	for binary, arguments := range map[string][]string{
		"etcd":           etcdArguments(dir, numbers),
		"kube-apiserver": apiServerArguments(dir, numbers),
	} {
		started, err := startProcess(dir, filepath.Join(binaries, binary), arguments)
		if err != nil {
			return nil, err
		}
		p.processes = append(p.processes, started)
	}
	if err := wait(ctx, p.processes, client.ready); err != nil {
		return nil, fmt.Errorf("wait for kube-apiserver on 127.0.0.1:%d: %w", numbers.api, err)
	}
	return p, nil
}

// stop ends both servers.
func (p *plane) stop() {
	for _, process := range p.processes {
		process.stop()
	}
}

// kubeconfigPath is the administrator's client configuration.
func (p *plane) kubeconfigPath() string { return filepath.Join(p.dir, "kubeconfig") }

// died returns a channel that delivers how the first server ended.
func (p *plane) died() <-chan error {
	ended := make(chan error, len(p.processes))
	for _, process := range p.processes {
		go func() {
			<-process.exited
			ended <- process.failure()
		}()
	}
	return ended
}

// prepare writes the run's secrets and the kubeconfig into dir and returns a client that
// trusts nobody but the server that holds them.
func prepare(dir string, numbers ports) (*apiClient, error) {
	ca, err := newAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	hosts := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	pair, err := ca.issue("server", hosts, []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(firstServiceAddress)})
	if err != nil {
		return nil, err
	}
	token, err := newToken()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"ca.crt":     ca.pem(),
		"server.crt": pair.certificate,
		"server.key": pair.key,
		"tokens.csv": tokenFile(token),
		"kubeconfig": kubeconfig(numbers.api, ca.pem(), token),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("write the run's %s: %w", name, err)
		}
	}
	return newClient(numbers.api, token, &tls.Config{RootCAs: ca.pool()}), nil
}

// apiClient asks the API server of this run.
type apiClient struct {
	base, token string
	http        *http.Client
}

func newClient(port int, token string, config *tls.Config) *apiClient {
	return &apiClient{
		base:  "https://127.0.0.1:" + strconv.Itoa(port),
		token: token,
		http: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
		},
	}
}

// ready returns nil once the server calls itself ready and has given the
// Service default/kubernetes its address. The answers are its own: the
// connection needs a certificate of the run's authority, and reading a
// Service needs the run's token.
func (c *apiClient) ready(ctx context.Context) error {
	if _, err := c.get(ctx, "/readyz"); err != nil {
		return err
	}
	body, err := c.get(ctx, "/api/v1/namespaces/default/services/kubernetes")
	if err != nil {
		return err
	}
	var service struct {
		Spec struct {
			ClusterIP string `json:"clusterIP"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(body, &service); err != nil {
		return fmt.Errorf("read the Service default/kubernetes: %w", err)
	}
	if service.Spec.ClusterIP != firstServiceAddress {
		return fmt.Errorf("the Service default/kubernetes has address %q, want %s", service.Spec.ClusterIP, firstServiceAddress)
	}
	return nil
}

// get returns the body of a 200 answer to a GET of path, and an error otherwise.
func (c *apiClient) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("read the answer for %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", path, response.Status)
	}
	return body, nil
}
