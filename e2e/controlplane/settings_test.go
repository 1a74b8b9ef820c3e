package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestFreePortsDiffer(t *testing.T) {
	p, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	if p.api == p.etcd || p.api == p.etcdPeer || p.etcd == p.etcdPeer {
		t.Errorf("ports %+v are not three different ones", p)
	}
	for _, port := range []int{p.api, p.etcd, p.etcdPeer} {
		listener, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Errorf("port %d is not free: %v", port, err)
			continue
		}
		listener.Close()
	}
}

func TestTokensDiffer(t *testing.T) {
	first, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	second, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	if first == second || len(first) != 32 {
		t.Errorf("tokens %q and %q, want two different ones of 32 characters", first, second)
	}
	if got, want := string(tokenFile("abc")), "abc,admin,admin,\"system:masters\"\n"; got != want {
		t.Errorf("token file %q, want %q", got, want)
	}
}

func TestServersUseTheRunsPortsAndSecrets(t *testing.T) {
	p := ports{api: 1001, etcd: 1002, etcdPeer: 1003}
	etcd, api := etcdArguments("/run/x", p), apiServerArguments("/run/x", p)
	for _, want := range []string{
		"--listen-client-urls=https://127.0.0.1:1002", "--listen-peer-urls=http://127.0.0.1:1003",
		"--client-cert-auth", "--unsafe-no-fsync", "--data-dir=/run/x/etcd", "--trusted-ca-file=/run/x/ca.crt",
	} {
		if !slices.Contains(etcd, want) {
			t.Errorf("etcd lacks %s: %q", want, etcd)
		}
	}
	for _, want := range []string{
		"--secure-port=1001", "--bind-address=127.0.0.1", "--etcd-servers=https://127.0.0.1:1002", "--etcd-cafile=/run/x/ca.crt",
		"--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112", "--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount", "--token-auth-file=/run/x/tokens.csv",
	} {
		if !slices.Contains(api, want) {
			t.Errorf("kube-apiserver lacks %s: %q", want, api)
		}
	}
}

func TestKubeconfigIsSelfContained(t *testing.T) {
	got := string(kubeconfig(6443, []byte("CA"), "secret"))
	for _, want := range []string{"server: https://127.0.0.1:6443\n", "certificate-authority-data: Q0E=\n", `token: "secret"`} {
		if !strings.Contains(got, want) {
			t.Errorf("kubeconfig lacks %q:\n%s", want, got)
		}
	}
}

func TestCommandEnvironment(t *testing.T) {
	for _, test := range []struct {
		name       string
		base, want []string
	}{
		{"nothing set", []string{"A=1"}, []string{"A=1", "KUBECONFIG=/k", "LAB_FORWARD=6443"}},
		{"existing forward is kept", []string{"LAB_FORWARD=80,81", "A=x=y"}, []string{"A=x=y", "KUBECONFIG=/k", "LAB_FORWARD=80,81,6443"}},
		{"empty forward", []string{"LAB_FORWARD="}, []string{"KUBECONFIG=/k", "LAB_FORWARD=6443"}},
		{"another cluster's configuration is replaced", []string{"KUBECONFIG=/home"}, []string{"KUBECONFIG=/k", "LAB_FORWARD=6443"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := commandEnvironment(test.base, "/k", 6443); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
