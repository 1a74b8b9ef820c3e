package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// serviceRange is where ClusterIPs come from, IPv4 first.
const serviceRange = "10.96.0.0/16,fd00:10:96::/112"

// firstServiceAddress is the ClusterIP that kube-apiserver gives to
// default/kubernetes: the first of serviceRange.
const firstServiceAddress = "10.96.0.1"

// ports are the TCP ports of 127.0.0.1 that one run uses.
type ports struct {
	api, etcd, etcdPeer int
}

// freePorts asks the kernel for ports nobody listens on. Another process may
// take one before the server does; then the server exits and start tries again.
func freePorts() (ports, error) {
	var found [3]int
	for i := range found {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return ports{}, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
		}
		// Held until all are found, so that no two are the same.
		defer listener.Close()
		found[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports{api: found[0], etcd: found[1], etcdPeer: found[2]}, nil
}

// newToken draws the administrator's bearer token.
func newToken() (string, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	return hex.EncodeToString(random), nil
}

// tokenFile is kube-apiserver's static token file: one user who may do anything.
func tokenFile(token string) []byte {
	return []byte(token + `,admin,admin,"system:masters"` + "\n")
}

// etcdArguments is etcd's command line. Clients need a certificate of the
// run's authority, so that neither side can talk to a stranger on its port.
func etcdArguments(dir string, p ports) []string {
	client := "https://127.0.0.1:" + strconv.Itoa(p.etcd)
	peer := "http://127.0.0.1:" + strconv.Itoa(p.etcdPeer)
	return []string{
		"--name=controlplane",
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=controlplane=" + peer,
		"--cert-file=" + filepath.Join(dir, "server.crt"),
		"--key-file=" + filepath.Join(dir, "server.key"),
		"--trusted-ca-file=" + filepath.Join(dir, "ca.crt"),
		"--client-cert-auth",
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

// apiServerArguments is kube-apiserver's command line.
func apiServerArguments(dir string, p ports) []string {
	return []string{
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(p.api),
		// A loopback address cannot be an endpoint, and guessing another one needs a
		// default route: default/kubernetes gets no endpoints from here.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--etcd-servers=https://127.0.0.1:" + strconv.Itoa(p.etcd),
		"--etcd-cafile=" + filepath.Join(dir, "ca.crt"),
		"--etcd-certfile=" + filepath.Join(dir, "server.crt"),
		"--etcd-keyfile=" + filepath.Join(dir, "server.key"),
		"--tls-cert-file=" + filepath.Join(dir, "server.crt"),
		"--tls-private-key-file=" + filepath.Join(dir, "server.key"),
		"--client-ca-file=" + filepath.Join(dir, "ca.crt"),
		"--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + filepath.Join(dir, "server.key"),
		"--service-account-signing-key-file=" + filepath.Join(dir, "server.key"),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged=true",
		"--cert-dir=" + dir,
	}
}

// kubeconfig is a client configuration with everything inline, so that the one
// file can be read from another mount namespace or machine.
func kubeconfig(port int, authority []byte, token string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `apiVersion: v1
kind: Config
current-context: controlplane
clusters:
- name: controlplane
  cluster:
    server: https://127.0.0.1:%d
    certificate-authority-data: %s
contexts:
- name: controlplane
  context: {cluster: controlplane, user: admin}
users:
- name: admin
  user: {token: %q}
`, port, base64.StdEncoding.EncodeToString(authority), token)
	return out.Bytes()
}

// commandEnvironment is base with KUBECONFIG set and port appended to LAB_FORWARD.
func commandEnvironment(base []string, kubeconfig string, port int) []string {
	environment := make([]string, 0, len(base)+2)
	forward := strconv.Itoa(port)
	for _, entry := range base {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "KUBECONFIG":
		case name == "LAB_FORWARD":
			if value != "" {
				forward = value + "," + strconv.Itoa(port)
			}
		default:
			environment = append(environment, entry)
		}
	}
	return append(environment, "KUBECONFIG="+kubeconfig, "LAB_FORWARD="+forward)
}
