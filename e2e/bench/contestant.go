package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// contestant is a proxy that is measured.
type contestant struct {
	name    string
	program string // in the directory of the daemon's
	// arguments of the program for a start.
	arguments func(o options) ([]string, error)
	// complete begins the line of its log that says that the kernel is as the API server wants it, for the first time.
	complete string
	// watch begins to observe a kernel that has nothing of it.
	watch func(targets []target) (view, error)
}

const (
	self  = "kube-ipvs-proxy"
	floor = "floor" // no proxy, but what the kernel itself needs
)

// contestants returns all of them, this project's first.
func contestants() []contestant {
	return []contestant{
		{self, "kube-ipvs-proxy", daemonArguments, "every source is complete", watchIPVS},
		{"kube-proxy-ipvs", "kube-proxy", kubeProxyArguments("ipvs"), "syncProxyRules complete", watchIPVS},
		{"kube-proxy-nftables", "kube-proxy", kubeProxyArguments("nftables"), "SyncProxyRules complete", watchNFTables},
		{name: floor},
	}
}

// chosen returns the contestants of a comma-separated list of names, in the order of the list.
func chosen(names string) ([]contestant, error) {
	var out []contestant
	for name := range strings.SplitSeq(names, ",") {
		all := contestants()
		at := slices.IndexFunc(all, func(c contestant) bool { return c.name == name })
		if at < 0 {
			return nil, fmt.Errorf("no contestant is called %q; there are %s", name, namesOf(all))
		}
		out = append(out, all[at])
	}
	return out, nil
}

// Kube-proxy in ipvs mode takes 8 minutes for 5,000 Services of 10 endpoints, and an hour for twice as many.
const (
	onceFrom  = 20000 // endpoints
	neverFrom = 100000
)

// rounds says how often the contestant is measured at a size.
func (c contestant) rounds(s size, most int) int {
	switch endpoints := s.Services * s.Endpoints; {
	case c.name != "kube-proxy-ipvs" || endpoints < onceFrom:
		return most
	case endpoints < neverFrom:
		return 1
	}
	return 0
}

func namesOf(all []contestant) string {
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	return strings.Join(names, ",")
}

func daemonArguments(o options) ([]string, error) {
	arguments := []string{"--kubeconfig=" + os.Getenv("KUBECONFIG"), "--hostname-override=" + nodeName,
		"--conntrack-max-per-core=0", "--logging-format=json", "-v=2"}
	return append(arguments, strings.Fields(o.Flags)...), nil
}

// kubeProxyConfig is kube-proxy's default configuration but for what it needs to run here: the limit of conntrack
// entries is the whole kernel's.
const kubeProxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %q}
hostnameOverride: %q
conntrack: {maxPerCore: 0}
`

// kubeProxyArguments has kube-proxy run in a mode. It logs no more than the ends of its syncs, each at a level of its own.
func kubeProxyArguments(mode string) func(options) ([]string, error) {
	return func(options) ([]string, error) {
		config := filepath.Join(os.TempDir(), "bench-kube-proxy.yaml")
		content := fmt.Sprintf(kubeProxyConfig, mode, os.Getenv("KUBECONFIG"), nodeName)
		if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
			return nil, err
		}
		return []string{"--config=" + config, "--vmodule=proxier=4"}, nil
	}
}
