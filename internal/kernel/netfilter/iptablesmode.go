package netfilter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// ofIptablesMode reports whether a chain is one that kube-proxy makes in its mode iptables and not in its mode ipvs: those of
// fixed names, and in nat those for a port of a Service, one of its endpoints, its firewall, what comes from outside, with a
// hash in base32 behind the prefix (pkg/proxy/iptables/proxier.go; KUBE-XLB- until Kubernetes 1.23). KUBE-FIREWALL,
// KUBE-MARK-DROP and KUBE-KUBELET-CANARY are the kubelet's.
func ofIptablesMode(in dataplane.Table, chain string) bool {
	switch chain {
	case "KUBE-PROXY-CANARY":
		return true
	case "KUBE-NODEPORTS":
		return in == dataplane.NAT || in == dataplane.Filter
	case "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES":
		return in == dataplane.Filter // KUBE-SERVICES in nat is a chain of the mode ipvs as well
	}
	return in == dataplane.NAT && hashed(chain)
}

// hashed reports whether a name is one of those prefixes and 16 characters of base32.
func hashed(chain string) bool {
	rest, kube := strings.CutPrefix(chain, "KUBE-")
	kind, hash, found := strings.Cut(rest, "-")
	return kube && found && slices.Contains([]string{"SVC", "SVL", "SEP", "FW", "EXT", "XLB"}, kind) && len(hash) == 16 &&
		strings.Trim(hash, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// newOnly is the condition of most of that mode's jumps in table filter.
const newOnly = "-m conntrack --ctstate NEW "

// jumpOfIptablesMode reports whether a rule is made as that mode makes its jumps: unconditional, or for new connections.
func jumpOfIptablesMode(line string) bool {
	_, bare := bareJump(strings.Replace(line, newOnly, "", 1))
	return bare
}

// isFirewallJump recognises that mode's jumps to a chain that the mode ipvs has as well, and jumps to in its own way.
func isFirewallJump(line string) bool {
	const rest = newOnly + `-m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL`
	return strings.HasSuffix(line, " "+rest)
}

// target returns the chain or verdict that a rule leads to, or nothing. Words inside a comment may be taken for it.
func target(line string) string {
	words := strings.Fields(line)
	for i := len(words) - 2; i >= 0; i-- {
		if words[i] == "-j" || words[i] == "-g" {
			return words[i+1]
		}
	}
	return ""
}

// destroyAll empties chains and removes those to which no rule of others leads.
func (c *change) destroyAll(gone map[string]bool, used map[string]string) {
	removed := 0
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		c.rewrite(name, nil)
		if used[name] != "" {
			c.because = append(c.because, fmt.Sprintf("chain %s of kube-proxy's mode iptables emptied, and kept for a rule of others (%s)", name, used[name]))
			continue
		}
		c.destroy = append(c.destroy, "-X "+name)
		removed++
	}
	if removed > 0 {
		c.because = append(c.because, fmt.Sprintf("%d chains of kube-proxy's mode iptables removed", removed))
	}
}
