package main

import (
	"os"
	"os/exec"
	"strings"
)

// labModules lists what is loaded before the command starts: everything the daemon, its rules and its
// tests may ask for, so that no test depends on which one ran first.
func labModules() []string {
	return strings.Fields(`
		ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_lblc ip_vs_lblcr ip_vs_sh ip_vs_mh
		ip_vs_sed ip_vs_nq ip_vs_fo ip_vs_ovf ip_vs_dh ip_vs_twos
		nf_conntrack nf_conntrack_netlink nf_nat
		ip_set ip_set_hash_ip ip_set_hash_ipport ip_set_hash_ipportip ip_set_hash_ipportnet
		ip_set_hash_net ip_set_bitmap_port ip_set_list_set
		nf_tables nft_compat nft_chain_nat nft_ct nft_masq nft_nat nft_reject_inet nft_fib_inet nft_numgen
		x_tables xt_set xt_comment xt_mark xt_addrtype xt_conntrack xt_physdev xt_MASQUERADE xt_tcpudp
		xt_multiport xt_statistic xt_nat xt_ipvs xt_connmark ipt_REJECT ip6t_REJECT
		ip_tables iptable_filter iptable_nat iptable_mangle iptable_raw
		ip6_tables ip6table_filter ip6table_nat ip6table_mangle ip6table_raw
		dummy veth bridge br_netfilter vxlan ipip sctp virtio_net`)
}

// loadModules loads what it can of the names on the host and ignores what this kernel does not have: who needs
// a module fails with a better message than this function could give.
func loadModules(names []string) {
	_ = exec.Command("modprobe", append([]string{"-a", "-q"}, names...)...).Run()
}

// hasModule says whether a module is loaded or built in.
func hasModule(name string) bool {
	_, err := os.Stat("/sys/module/" + name)
	return err == nil
}

// canLoad says whether the module is there, after trying to load it.
func canLoad(name string) bool {
	if hasModule(name) {
		return true
	}
	return exec.Command("modprobe", "-q", name).Run() == nil
}

// chooseNative decides between the host's kernel and a virtual machine, and says why.
func chooseNative(opt options) (native bool, why string) {
	switch {
	case opt.mode == modeNative:
		return true, "asked for"
	case opt.mode == modeVM:
		return false, "asked for"
	case len(opt.without) > 0:
		return false, "-without needs a kernel of its own"
	}
	for _, name := range []string{"ip_vs", "dummy"} {
		if !canLoad(name) {
			return false, "this kernel has no module " + name
		}
	}
	return true, "this kernel has ip_vs and dummy"
}
