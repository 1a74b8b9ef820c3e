package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// ward is a Service with every kind of address, whose one endpoint is a pod of the node.
const ward = `
{kind: Service, apiVersion: v1, metadata: {name: web}, spec: {clusterIPs: [10.96.0.80], type: LoadBalancer,
  externalTrafficPolicy: Local, healthCheckNodePort: 32080, ports: [{port: 80, nodePort: 30080}]},
  status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {name: web, labels: {kubernetes.io/service-name: web}},
  addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.244.1.2], nodeName: node-1}]}
`

// patient is a node on which a daemon serves the ward, until something is done to it.
type patient struct {
	node
	server, client *topology.Pod
	daemon         *daemon
	programs       string // directory of programs that an operator has
}

func newPatient(t *testing.T, flags ...string) *patient {
	t.Helper()
	p := &patient{node: newNode(t), programs: t.TempDir()}
	p.server, p.client = p.AddPod(t, "server"), p.AddPod(t, "client")
	backend.StartAll(t, p.server.Netns, cluster.TargetPort, topology.TCP)
	p.write(t, ward)
	if err := os.Symlink(p.binary, filepath.Join(p.programs, "kube-ipvs-proxy")); err != nil {
		t.Fatal(err)
	}
	// There is no kubelet that would have the daemon's log: this is all that kubectl can do here.
	p.script(t, "kubectl", `case "$*" in *" logs "*) cat `+p.log()+";; *) exit 9;; esac")
	p.daemon = p.start(t, flags...)
	p.daemon.serves(t)
	return p
}

func (p *patient) write(t *testing.T, objects string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.manifests, "objects.yaml"), []byte(objects), 0o644); err != nil {
		t.Fatal(err)
	}
}

// script writes a program and returns its path.
func (p *patient) script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.programs, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh -e\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *patient) log() string { return filepath.Join(p.programs, "log") }

// look runs a command line on the node, as an operator does.
func (p *patient) look(t *testing.T, line string) (status int, printed string) {
	t.Helper()
	if err := os.WriteFile(p.log(), []byte(p.daemon.output.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	command := p.Command(t.Context(), "bash", "-c", line)
	command.Env = append(os.Environ(), "PATH="+p.programs+":"+os.Getenv("PATH"))
	output, err := command.CombinedOutput()
	return statusOf(t, err), string(output)
}

// restart replaces the daemon by one with other flags, and does not wait for what that does.
func (p *patient) restart(t *testing.T, flags ...string) {
	t.Helper()
	p.daemon.stop(t)
	p.daemon = p.start(t, flags...)
}

// does returns what happens to a patient by a script.
func does(script string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) { t.Helper(); cluster.Run(t, p.Netns, "sh", "-ec", script) }
}

// says returns what happens to a patient when the ward's objects say something else.
func says(before, after string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		if !strings.Contains(ward, before) {
			t.Fatalf("the objects do not say %q", before)
		}
		p.write(t, strings.Replace(ward, before, after, 1))
	}
}

// starts returns what happens to a patient when the daemon is started with other flags.
func starts(flags ...string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) { t.Helper(); p.restart(t, flags...) }
}

// anonymous writes a kubeconfig with which the API server knows nobody, and so grants nothing. It is reached from the node.
func (p *patient) anonymous(t *testing.T) string {
	t.Helper()
	p.ForwardTCP(t, cluster.APIPort(t))
	config, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = api.NewAuthInfo()
	}
	path := filepath.Join(p.programs, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
