package config

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	logs "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs-proxy/internal/service"
)

// The kernel's defaults of nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream (udp_timeouts in
// net/netfilter/nf_conntrack_proto_udp.c).
const (
	kernelUDPTimeout       = 30 * time.Second
	kernelUDPStreamTimeout = 120 * time.Second
)

// build checks a defaulted file and turns it into the configuration, without what has no field in the file.
func (c *checker) build(file v1alpha1.KubeProxyConfiguration, host Host) Config {
	if file.Mode != ModeIPVS {
		c.refuse("mode", file.Mode, "kube-ipvs-proxy is kube-proxy's ipvs mode and nothing else; set the mode to ipvs or leave it "+
			"empty, or run kube-proxy on this node for another mode")
	}
	out := Config{
		API:  c.api(&file),
		Node: c.node(&file, host),
		IPVS: c.ipvs(&file.IPVS),
		Serve: Serve{
			Healthz:   c.listener("healthzBindAddress", file.HealthzBindAddress),
			Metrics:   c.listener("metricsBindAddress", file.MetricsBindAddress),
			HardFail:  file.BindAddressHardFail,
			Profiling: file.EnableProfiling,
		},
		Masquerade: c.masquerade(&file),
		Conntrack:  c.conntrack(&file.Conntrack),
		Logging:    c.logging(&file.Logging),
		File:       file,
	}
	c.matchUDP(&out, host)
	c.warnOfIdle(&file)
	return out
}

func (c *checker) api(file *v1alpha1.KubeProxyConfiguration) API {
	client := &file.ClientConnection
	if qps := float64(client.QPS); math.IsNaN(qps) || math.IsInf(qps, 0) {
		c.refuse("clientConnection.qps", client.QPS, "give a number of requests per second; a negative one is no limit")
	}
	return API{
		Kubeconfig:         client.Kubeconfig,
		ContentType:        client.ContentType,
		AcceptContentTypes: client.AcceptContentTypes,
		QPS:                client.QPS,
		Burst:              c.number("clientConnection.burst", &client.Burst, 0, math.MaxInt32),
		Resync:             c.positive("configSyncPeriod", file.ConfigSyncPeriod.Duration),
	}
}

func (c *checker) node(file *v1alpha1.KubeProxyConfiguration, host Host) Node {
	name := host.Hostname
	if file.HostnameOverride != "" {
		name = file.HostnameOverride
	}
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" {
		c.refuse("hostnameOverride", file.HostnameOverride, "the node has no name; give the one of its Node object, for example "+
			"with --hostname-override=$(NODE_NAME)")
	}
	bind, err := service.ParseAddr(file.BindAddress)
	if err != nil || bind.Zone() != "" {
		c.refuse("bindAddress", file.BindAddress, "give an IP address of this node, or 0.0.0.0 to take the Node object's")
	}
	bind = bind.Unmap()
	if bind.IsUnspecified() {
		bind = netip.Addr{}
	}
	ports, err := service.ParseNodePortAddresses(file.NodePortAddresses)
	if err != nil {
		c.refuseNodePorts(err)
	}
	return Node{Name: name, Bind: bind, NodePorts: ports}
}

// refuseNodePorts takes over an error with one line for each value, which begins with the field's path.
func (c *checker) refuseNodePorts(err error) {
	const path = "nodePortAddresses"
	for line := range strings.Lines(err.Error()) {
		c.errs = append(c.errs, fmt.Errorf("%s%s", c.name(path), strings.TrimSpace(strings.TrimPrefix(line, path))))
	}
}

func (c *checker) ipvs(file *v1alpha1.KubeProxyIPVSConfiguration) IPVS {
	out := IPVS{
		Scheduler:     "rr",
		StrictARP:     file.StrictARP,
		TCPTimeout:    c.timeout("ipvs.tcpTimeout", file.TCPTimeout.Duration),
		TCPFinTimeout: c.timeout("ipvs.tcpFinTimeout", file.TCPFinTimeout.Duration),
		UDPTimeout:    c.timeout("ipvs.udpTimeout", file.UDPTimeout.Duration),
		SyncPeriod:    c.positive("ipvs.syncPeriod", file.SyncPeriod.Duration),
		MinSyncPeriod: file.MinSyncPeriod.Duration,
	}
	if out.MinSyncPeriod < 0 || out.MinSyncPeriod > out.SyncPeriod {
		c.refuse("ipvs.minSyncPeriod", out.MinSyncPeriod, "give a duration from 0 to %s, or raise %s", out.SyncPeriod,
			c.name("ipvs.syncPeriod"))
	}
	if file.Scheduler != "" {
		out.Scheduler = c.scheduler(file.Scheduler)
	}
	for i, value := range file.ExcludeCIDRs {
		if p, ok := c.prefix(index("ipvs.excludeCIDRs", i), value); ok {
			out.Exclude = append(out.Exclude, p)
		}
	}
	return out
}

// scheduler checks the form of a name; schedulers outside the kernel tree have names too. IP_VS_SCHEDNAME_MAXLEN of
// include/uapi/linux/ip_vs.h is 16, with the terminating NUL.
func (c *checker) scheduler(name string) string {
	strange := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' }
	if len(name) > 15 || strings.ContainsFunc(name, strange) {
		c.refuse("ipvs.scheduler", name, "give the kernel's name of a scheduler: rr, wrr, lc, wlc, sh, dh, mh, sed, nq, fo, ovf, "+
			"lblc, lblcr or twos")
	}
	return name
}

func (c *checker) masquerade(file *v1alpha1.KubeProxyConfiguration) Masquerade {
	out := Masquerade{All: file.IPTables.MasqueradeAll, Mode: LocalMode(file.DetectLocalMode)}
	if bit := c.number("iptables.masqueradeBit", file.IPTables.MasqueradeBit, 0, 31); bit >= 0 {
		out.Mark = 1 << bit
	}
	switch local := &file.DetectLocal; out.Mode {
	case LocalClusterCIDR:
		out.CIDRs = c.clusterCIDR(file.ClusterCIDR)
	case LocalNodeCIDR:
	case LocalBridgeInterface:
		out.Interface = c.interfaceName("detectLocal.bridgeInterface", local.BridgeInterface, 15)
	case LocalInterfaceNamePrefix:
		// The "+" that iptables wants behind a prefix counts as a character of the name.
		out.Interface = c.interfaceName("detectLocal.interfaceNamePrefix", local.InterfaceNamePrefix, 14) + "+"
		if strings.HasSuffix(local.InterfaceNamePrefix, "+") {
			c.refuse("detectLocal.interfaceNamePrefix", local.InterfaceNamePrefix, "leave out the + at the end, it is added")
		}
	default:
		c.refuse("detectLocalMode", out.Mode, "give one of %s, %s, %s and %s", LocalClusterCIDR, LocalNodeCIDR,
			LocalBridgeInterface, LocalInterfaceNamePrefix)
	}
	return out
}

// clusterCIDR reads one CIDR, or two of different families, separated by a comma.
func (c *checker) clusterCIDR(value string) []netip.Prefix {
	if value == "" {
		return nil
	}
	var out []netip.Prefix
	for part := range strings.SplitSeq(value, ",") {
		if p, ok := c.prefix("clusterCIDR", part); ok {
			out = append(out, p)
		}
	}
	if len(out) > 2 || len(out) == 2 && out[0].Addr().Is4() == out[1].Addr().Is4() {
		c.refuse("clusterCIDR", value, "give one CIDR, or one of IPv4 and one of IPv6")
	}
	return out
}

func (c *checker) conntrack(file *v1alpha1.KubeProxyConntrackConfiguration) Conntrack {
	return Conntrack{
		MaxPerCore:            c.number("conntrack.maxPerCore", file.MaxPerCore, 0, math.MaxInt32),
		Min:                   c.number("conntrack.min", file.Min, 0, math.MaxInt32),
		TCPBeLiberal:          file.TCPBeLiberal,
		TCPEstablishedTimeout: c.timeout("conntrack.tcpEstablishedTimeout", file.TCPEstablishedTimeout.Duration),
		TCPCloseWaitTimeout:   c.timeout("conntrack.tcpCloseWaitTimeout", file.TCPCloseWaitTimeout.Duration),
		UDPTimeout:            c.timeout("conntrack.udpTimeout", file.UDPTimeout.Duration),
		UDPStreamTimeout:      c.timeout("conntrack.udpStreamTimeout", file.UDPStreamTimeout.Duration),
	}
}

// matchUDP keeps conntrack from forgetting a UDP flow before IPVS does (P32).
func (c *checker) matchUDP(out *Config, host Host) {
	want := out.IPVS.UDPTimeout
	orDuration(&host.UDPTimeout, kernelUDPTimeout)
	orDuration(&host.UDPStreamTimeout, kernelUDPStreamTimeout)
	raise := func(path string, timeout *time.Duration, present time.Duration) {
		switch {
		case *timeout > 0 && *timeout < want:
			c.refuse("ipvs.udpTimeout", want, "conntrack would forget the flow after %s; raise %s to %s or leave it unset",
				*timeout, c.name(path), want)
		case *timeout == 0 && present < want:
			*timeout = want
		}
	}
	raise("conntrack.udpTimeout", &out.Conntrack.UDPTimeout, host.UDPTimeout)
	raise("conntrack.udpStreamTimeout", &out.Conntrack.UDPStreamTimeout, host.UDPStreamTimeout)
}

func (c *checker) logging(file *logs.LoggingConfiguration) Logging {
	out := Logging{
		Verbosity:      c.verbosity("logging.verbosity", file.Verbosity),
		Format:         file.Format,
		FlushFrequency: c.positive("logging.flushFrequency", file.FlushFrequency.Duration.Duration),
	}
	if out.Format != LogText && out.Format != LogJSON {
		c.refuse("logging.format", out.Format, "give %s or %s", LogText, LogJSON)
	}
	if len(file.VModule) > 0 && out.Format == LogJSON {
		c.refuse("logging.vmodule", logs.VModuleConfigurationPflag(&file.VModule), "set %s to %s, or leave this out",
			c.name("logging.format"), LogText)
	}
	for i, item := range file.VModule {
		path := index("logging.vmodule", i)
		if item.FilePattern == "" || strings.ContainsAny(item.FilePattern, "=,") {
			c.refuse(path, item.FilePattern, "give a file name without .go, or a pattern of such names, without = and comma")
		}
		out.Modules = append(out.Modules, LogModule{item.FilePattern, c.verbosity(path, item.Verbosity)})
	}
	return out
}

func (c *checker) verbosity(path string, level logs.VerbosityLevel) int {
	if level > math.MaxInt32 {
		c.refuse(path, level, "give a number from 0 to %d", math.MaxInt32)
	}
	return int(level)
}
