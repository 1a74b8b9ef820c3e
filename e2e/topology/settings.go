package topology

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// hostSettings is what every namespace gets before it has links, so that the links start
// with it.
func hostSettings() []setting {
	return []setting{
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv6/conf/all/disable_ipv6", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		// Else the kernel swallows refusals, and a refused probe looks like a lost one.
		{"net/ipv4/icmp_ratelimit", "0"},
		{"net/ipv6/icmp/ratelimit", "0"},
	}
}

// forwarding is what a namespace needs to pass packets on.
func forwarding() []setting {
	return []setting{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv6/conf/all/forwarding", "1"},
		{"net/ipv6/conf/default/forwarding", "1"},
	}
}

// bridgeNetfilter is the setting of whether bridged packets pass the packet filter, for both families.
func bridgeNetfilter(on bool) []setting {
	value := "0"
	if on {
		value = "1"
	}
	return []setting{
		{"net/bridge/bridge-nf-call-iptables", value},
		{"net/bridge/bridge-nf-call-ip6tables", value},
	}
}

// setBridgeNetfilter turns packet filtering on bridges on or off in the namespace. A
// kernel without the feature needs no turning off.
func (n *Netns) setBridgeNetfilter(on bool) error {
	err := n.setSysctls(bridgeNetfilter(on))
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !on {
		return nil
	}
	if out, loadErr := exec.Command("modprobe", "br_netfilter").CombinedOutput(); loadErr != nil {
		return fmt.Errorf("the kernel has no br_netfilter, without which pods on a bridge cannot use Services "+
			"(load the module, or use Options.Pods: Routed): %w: %s", loadErr, strings.TrimSpace(string(out)))
	}
	return n.setSysctls(bridgeNetfilter(on))
}
