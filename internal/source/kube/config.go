package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrClusterIPUnreachable: the API server is to be reached by its ClusterIP, and nothing on this node serves that yet.
var ErrClusterIPUnreachable = errors.New("the API server's ClusterIP does not answer")

// probeTimeout is how long the API server's ClusterIP may take to accept a connection.
const probeTimeout = 3 * time.Second

// The content types of requests and answers; the second is for what has no protobuf form, such as some errors.
const (
	protobuf         = "application/vnd.kubernetes.protobuf"
	protobufThenJSON = protobuf + ",application/json"
)

// hostVariable is the kubelet's variable with the ClusterIP of default/kubernetes.
const hostVariable = "KUBERNETES_SERVICE_HOST"

// Connection says how to reach the API server: clientConnection of the configuration, and --master.
type Connection struct {
	Kubeconfig         string // path; empty for the Pod's ServiceAccount
	Master             string // URL that replaces the API server's address; may be empty
	ContentType        string // of requests; empty for protobuf
	AcceptContentTypes string // of answers; empty for protobuf, then JSON
	QPS                float32
	Burst              int
	UserAgent          string // empty for client-go's
}

// Config returns the client configuration of a connection.
//
// When the address is the ClusterIP that the kubelet tells every Pod, this proxy may be the one that has to program it,
// and would wait for itself for ever, as after a reboot. So it is dialled once: if that fails, the error wraps
// ErrClusterIPUnreachable. If it succeeds, something serves it (what the kernel still holds from an earlier run, or
// another proxy that is being replaced). Other addresses are not tried: that the API server is down for a while is no
// reason not to start.
func Config(ctx context.Context, c Connection) (*rest.Config, error) {
	return configOf(ctx, c, rest.InClusterConfig)
}

func configOf(ctx context.Context, c Connection, inCluster func() (*rest.Config, error)) (*rest.Config, error) {
	out, err := baseConfig(c, inCluster)
	if err != nil {
		return nil, err
	}
	out.ContentType, out.AcceptContentTypes = c.ContentType, c.AcceptContentTypes
	if out.ContentType == "" {
		out.ContentType = protobuf
	}
	if out.AcceptContentTypes == "" {
		out.AcceptContentTypes = protobufThenJSON
	}
	out.QPS, out.Burst, out.UserAgent = c.QPS, c.Burst, c.UserAgent
	if err := probe(ctx, out.Host, os.Getenv(hostVariable)); err != nil {
		return nil, err
	}
	return out, nil
}

// baseConfig finds address and credentials. Unlike clientcmd it never falls back from a kubeconfig that says nothing to
// the ServiceAccount.
func baseConfig(c Connection, inCluster func() (*rest.Config, error)) (*rest.Config, error) {
	if c.Kubeconfig != "" {
		loaded, err := (&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}).Load()
		if err != nil {
			return nil, fmt.Errorf("reading the kubeconfig %s: %w; give the path of one that names the API server and this daemon's credentials", c.Kubeconfig, err)
		}
		overrides := &clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: c.Master}}
		out, err := clientcmd.NewDefaultClientConfig(*loaded, overrides).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("using the kubeconfig %s: %w; check its current-context, cluster and user", c.Kubeconfig, err)
		}
		return out, nil
	}
	out, err := inCluster()
	switch {
	case err == nil && c.Master != "":
		out.Host = c.Master
	case err != nil && c.Master != "":
		return &rest.Config{Host: c.Master}, nil
	case err != nil:
		return nil, fmt.Errorf("no kubeconfig was given, and the Pod's ServiceAccount cannot be used: %w; set clientConnection.kubeconfig or --kubeconfig", err)
	}
	return out, nil
}

// probe dials the API server when its address is the ClusterIP.
func probe(ctx context.Context, server, clusterIP string) error {
	host, port := endpoint(server)
	if clusterIP == "" || host != clusterIP {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("%w: %w; %s is programmed by this very daemon once it has spoken with the API server, so it needs "+
			"another way there: give the API server's real address with --master https://ADDRESS:6443, or in the "+
			"kubeconfig named by clientConnection.kubeconfig", ErrClusterIPUnreachable, err, host)
	}
	return conn.Close()
}

// endpoint returns host and port of an API server's URL, which may lack the scheme.
func endpoint(server string) (host, port string) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		if u, err = url.Parse("https://" + server); err != nil {
			return "", ""
		}
	}
	port = u.Port()
	switch {
	case port == "" && u.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	return u.Hostname(), port
}
