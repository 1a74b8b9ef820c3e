package sysctl

import (
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// Settings says what the parameters should be. Those that every node needs, for IPVS and IPv4 forwarding, are not
// listed: they have only one right value.
type Settings struct {
	Families  []dataplane.Family // in use
	StrictARP bool               // answer ARP only for addresses of the interface that was asked (MetalLB layer 2)
	Conntrack Conntrack
}

// Conntrack is KubeProxyConntrackConfiguration of kubeproxy.config.k8s.io/v1alpha1. A zero field leaves the kernel's
// value. Timeouts are rounded down to whole seconds.
type Conntrack struct {
	MaxPerCore int // connections to track per CPU; 0 leaves nf_conntrack_max alone, whatever Min is
	Min        int // least number of connections to track, if MaxPerCore is not 0

	TCPBeLiberal          bool // do not call out-of-window packets invalid; false leaves the kernel's value
	TCPEstablishedTimeout time.Duration
	TCPCloseWaitTimeout   time.Duration
	UDPTimeout            time.Duration
	UDPStreamTimeout      time.Duration
}

// conntrackMaxName is how many connections can be tracked.
const conntrackMaxName = "net/netfilter/nf_conntrack_max"

// maxConntrack limits what scaling by CPUs may ask for: entries of 320 bytes, 1,048,576 of them are 320 MiB.
const maxConntrack = 1 << 20

// conntrackMax returns how many connections to track, or 0 to leave it. As in kube-proxy the cap concerns what was
// scaled by CPUs; a larger Min counts if the CPUs alone stay below the cap.
func (c Conntrack) conntrackMax(cpus int) int {
	if c.MaxPerCore <= 0 {
		return 0
	}
	scaled := c.MaxPerCore * cpus
	if scaled > maxConntrack {
		return maxConntrack
	}
	return max(scaled, c.Min)
}

// parameter is one sysctl with the value it is to have.
type parameter struct {
	name  string // path below /proc/sys
	value int
}

// fixed lists the parameters that must have exactly one value.
func (s Settings) fixed(kernel version) []parameter {
	list := []parameter{
		{"net/ipv4/vs/conntrack", 1},                 // masquerading needs conntrack to see IPVS's connections
		{"net/ipv4/vs/expire_nodest_conn", 1},        // a connection whose real server is gone ends (P12)
		{"net/ipv4/vs/expire_quiescent_template", 1}, // affinity does not hold on to a drained real server (P13)
	}
	if kernel.reusesPortsSlowly() {
		list = append(list, parameter{reuseMode, 0})
	}
	list = append(list, parameter{"net/ipv4/ip_forward", 1})
	if s.StrictARP {
		list = append(list, parameter{"net/ipv4/conf/all/arp_ignore", 1}, parameter{"net/ipv4/conf/all/arp_announce", 2})
	}
	return append(list, s.Conntrack.fixed()...)
}

func (c Conntrack) fixed() []parameter {
	var list []parameter
	if c.TCPBeLiberal {
		list = append(list, parameter{"net/netfilter/nf_conntrack_tcp_be_liberal", 1})
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"tcp_timeout_established", c.TCPEstablishedTimeout},
		{"tcp_timeout_close_wait", c.TCPCloseWaitTimeout},
		{"udp_timeout", c.UDPTimeout},
		{"udp_timeout_stream", c.UDPStreamTimeout},
	} {
		if seconds := int(t.value / time.Second); seconds > 0 {
			list = append(list, parameter{"net/netfilter/nf_conntrack_" + t.name, seconds})
		}
	}
	return list
}
