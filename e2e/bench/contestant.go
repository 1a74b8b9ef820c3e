package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// contestant is a proxy that is measured, or something to hold it against.
type contestant struct {
	name    string
	takes   kinds  // which measurements it takes part in
	program string // in the directory of the daemon's; none if there is nothing to run
	// arguments of the program for a start.
	arguments func(o options) ([]string, error)
	// complete begins the line of its log that says that the kernel is as the API server wants it, for the first time.
	complete string
	// watch begins to observe a kernel that has nothing of it.
	watch func(targets []target) (view, error)
	// prepare makes of the guest's kernel, in the calling thread's network namespace, what there is without a program.
	prepare func(g *guest) error
}

// kinds are measurements, as bits.
type kinds int

const (
	scaling    kinds = 1 << iota // starts and changes at some size
	direct                       // packets to no Service
	throughVIP                   // packets to a Service
)

const (
	self        = "kube-ipvs-proxy"
	kubeIPVS    = "kube-proxy-ipvs"
	kubeNFT     = "kube-proxy-nftables"
	floor       = "floor"         // no proxy, but what the kernel itself needs
	nothing     = "nothing"       // a node on which nobody has installed anything
	smallest    = "smallest"      // the smallest rule set that could do the job
	smallestOwn = "smallest-ipvs" // the same with IPVS
)

// contestants returns all of them, this project's first.
func contestants() []contestant {
	const everything = scaling | direct | throughVIP
	return []contestant{
		{self, everything, "kube-ipvs-proxy", daemonArguments, "every source is complete", watchIPVS, nil},
		{kubeIPVS, everything, "kube-proxy", kubeProxyArguments("ipvs"), "syncProxyRules complete", watchIPVS, nil},
		{kubeNFT, everything, "kube-proxy", kubeProxyArguments("nftables"), "SyncProxyRules complete", watchNFTables, nil},
		{name: floor, takes: scaling},
		{name: nothing, takes: direct, prepare: func(*guest) error { return nil }},
		{name: smallest, takes: direct, prepare: (*guest).installSmallest},
		{name: smallestOwn, takes: direct | throughVIP, prepare: (*guest).installSmallestIPVS},
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

// taking returns those that take part in a measurement.
func taking(all []contestant, in kinds) []contestant {
	var out []contestant
	for _, c := range all {
		if c.takes&in != 0 {
			out = append(out, c)
		}
	}
	return out
}

// Kube-proxy in ipvs mode takes 8 minutes to start with 5,000 Services of 10 endpoints, and an hour with twice as many.
const (
	onceFrom  = 20000 // endpoints
	neverFrom = 10000 // Services
)

// rounds says how often the contestant is measured at a size.
func (c contestant) rounds(s size, most int) int {
	switch {
	case c.name != kubeIPVS || s.Services*s.Endpoints < onceFrom:
		return most
	case s.Services < neverFrom:
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
		"--cluster-cidr=" + podRange, "--conntrack-max-per-core=0", "--logging-format=json", "-v=2"}
	return append(arguments, strings.Fields(o.Flags)...), nil
}

// podRange is where the pods of package topology are, which are not masqueraded on their way to a Service.
const podRange = "10.244.0.0/16"

// kubeProxyConfig is kube-proxy's default configuration but for what it needs to run here: the limit of conntrack
// entries is the whole kernel's.
const kubeProxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %q}
hostnameOverride: %q
clusterCIDR: %s
conntrack: {maxPerCore: 0}
`

// kubeProxyArguments has kube-proxy run in a mode. It logs no more than the ends of its syncs, each at a level of its own.
func kubeProxyArguments(mode string) func(options) ([]string, error) {
	return func(options) ([]string, error) {
		config := filepath.Join(os.TempDir(), "bench-kube-proxy-"+mode+".yaml") // it ends when its file changes
		content := fmt.Sprintf(kubeProxyConfig, mode, os.Getenv("KUBECONFIG"), nodeName, podRange)
		if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
			return nil, err
		}
		return []string{"--config=" + config, "--vmodule=proxier=4"}, nil
	}
}
