package config

import (
	"slices"

	cliflag "k8s.io/component-base/cli/flag"
	logs "k8s.io/component-base/logs/api/v1"
)

// table lists every flag with the field it shares with the file.
func (f *Flags) table() []option { return slices.Concat(f.actionFlags(), f.settings()) }

// settings are the flags that say how a daemon works.
func (f *Flags) settings() []option {
	return slices.Concat(f.processFlags(), f.apiFlags(), f.nodeFlags(), f.ipvsFlags(), f.masqueradeFlags(),
		f.conntrackFlags(), f.serveFlags(), f.loggingFlags(), f.otherModeFlags())
}

// actionFlags have the process do something else than a daemon does, and end.
func (f *Flags) actionFlags() []option {
	return []option{
		{"write-config-to", "", &f.run.WriteTo, "write the complete configuration to this file and exit"},
		{"cleanup", "", &f.run.Cleanup,
			"remove what this daemon put into the kernel and exit; give it the ipvs.excludeCIDRs and --internal-marks that the daemon had"},
		{"keep-kube-proxy", "", &f.run.KeepRival,
			"with --cleanup, after going back: keep what kube-proxy's ipvs mode works with, and remove only what it knows nothing of"},
		{"init-only", "", &f.run.InitOnly,
			"set kernel parameters, which takes a writable /proc/sys, and exit: what an init container does for a daemon with fewer privileges"},
		{"version", "", (*versionValue)(&f.run.ShowVersion), "print the version and exit"},
	}
}

func (f *Flags) processFlags() []option {
	return []option{
		{"config", "", &f.run.ConfigFile,
			"KubeProxyConfiguration file (kubeproxy.config.k8s.io/v1alpha1) to read settings from; of the flags that have a field there, " +
				"only --hostname-override and those of the log win over it"},
		{"reload-config", "", &f.run.Reload,
			"take over changes of the --config file while running, and report those that need a new process"},
		{"oom-score-adj", "oomScoreAdj", f.file.OOMScoreAdj,
			"how readily the kernel kills this process for want of memory, -1000 to 1000; lowering it needs CAP_SYS_RESOURCE"},
		{"feature-gates", "featureGates", cliflag.NewMapStringBool(&f.file.FeatureGates),
			"accepted for compatibility; kube-proxy's feature gates have no effect here"},
	}
}

func (f *Flags) apiFlags() []option {
	client := &f.file.ClientConnection
	return []option{
		{"kubeconfig", "clientConnection.kubeconfig", &client.Kubeconfig,
			"kubeconfig file with the API server and credentials"},
		{"master", "", &f.api.Master, "URL of the API server, instead of the one in the kubeconfig"},
		{"manifests", "", &f.api.Manifests, "directory of YAML or JSON files with Services, EndpointSlices, Endpoints and the Node, watched; besides the API server if " +
			"--kubeconfig or --master says where that is, else instead of it"},
		{"kube-api-content-type", "clientConnection.contentType", &client.ContentType,
			"encoding of requests to the API server, for example application/json"},
		{"kube-api-qps", "clientConnection.qps", &client.QPS, "requests per second to the API server, on average"},
		{"kube-api-burst", "clientConnection.burst", &client.Burst, "requests to the API server that may come at once"},
		{"config-sync-period", "configSyncPeriod", &f.file.ConfigSyncPeriod.Duration,
			"accepted for compatibility: nothing needs to be delivered twice; more than 0"},
	}
}

func (f *Flags) nodeFlags() []option {
	return []option{
		{"hostname-override", "hostnameOverride", &f.file.HostnameOverride,
			"name of this Node, if not the hostname; wins over --config"},
		{"bind-address", "bindAddress", &f.file.BindAddress,
			"this node's own IP, if not the Node object's; nothing listens on it"},
		{"nodeport-addresses", "nodePortAddresses", &f.file.NodePortAddresses,
			"addresses to serve NodePorts on: CIDRs and the words primary, localhost, all (default all)"},
	}
}

func (f *Flags) ipvsFlags() []option {
	ipvs := &f.file.IPVS
	return []option{
		{"proxy-mode", "mode", (*string)(&f.file.Mode), "must be empty or ipvs: this daemon has no other mode"},
		{"ipvs-scheduler", "ipvs.scheduler", &ipvs.Scheduler, "IPVS scheduler, for example rr, lc, sh, wrr or mh (default rr)"},
		{"ipvs-no-fallback", "", &f.ipvs.NoFallback,
			"let the sh and mh schedulers refuse clients of a draining server instead of sending them to another"},
		{"ipvs-exclude-cidrs", "ipvs.excludeCIDRs", &ipvs.ExcludeCIDRs,
			"never delete virtual servers with an address in these CIDRs"},
		{"ipvs-strict-arp", "ipvs.strictARP", &ipvs.StrictARP,
			"answer ARP on the interface that has the address only (arp_ignore=1, arp_announce=2), as MetalLB needs"},
		{"ipvs-sync-period", "ipvs.syncPeriod", &ipvs.SyncPeriod.Duration,
			"time between comparisons of the whole kernel state; more than 0"},
		{"ipvs-min-sync-period", "ipvs.minSyncPeriod", &ipvs.MinSyncPeriod.Duration,
			"least time between two rounds of changes; 0 applies each at once"},
		{"ipvs-tcp-timeout", "ipvs.tcpTimeout", &ipvs.TCPTimeout.Duration,
			"idle timeout of IPVS TCP connections; 0 keeps the kernel's"},
		{"ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", &ipvs.TCPFinTimeout.Duration,
			"timeout of IPVS TCP connections after a FIN; 0 keeps the kernel's"},
		{"ipvs-udp-timeout", "ipvs.udpTimeout", &ipvs.UDPTimeout.Duration,
			"idle timeout of IPVS UDP flows, conntrack's included; 0 keeps the kernel's"},
		{"drain-timeout", "", &f.ipvs.DrainTimeout,
			"how long a TCP server that left a Service may keep its connections; 0 cuts them at once"},
	}
}

func (f *Flags) masqueradeFlags() []option {
	local := &f.file.DetectLocal
	return []option{
		{"masquerade-all", "iptables.masqueradeAll", &f.file.IPTables.MasqueradeAll,
			"masquerade everything that is sent to a ClusterIP"},
		{"iptables-masquerade-bit", "iptables.masqueradeBit", f.file.IPTables.MasqueradeBit,
			"bit of the packet mark that asks for masquerading, 0 to 31"},
		{"internal-marks", "", &f.marks,
			"packet marks, FIRST-LAST, for pods and the node as clients of Services with externalTrafficPolicy Local; keep other users of " +
				"marks out of them, and clean up with the old ones before changing them"},
		{"detect-local-mode", "detectLocalMode", (*string)(&f.file.DetectLocalMode),
			"how to tell traffic of own pods: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"},
		{"cluster-cidr", "clusterCIDR", &f.file.ClusterCIDR,
			"pod addresses of the cluster, for ClusterCIDR; an IPv4 and an IPv6 CIDR if dual-stack"},
		{"pod-bridge-interface", "detectLocal.bridgeInterface", &local.BridgeInterface,
			"bridge that pods are attached to, for BridgeInterface"},
		{"pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", &local.InterfaceNamePrefix,
			"what the names of pod interfaces begin with, for InterfaceNamePrefix"},
	}
}

func (f *Flags) conntrackFlags() []option {
	ct := &f.file.Conntrack
	return []option{
		{"conntrack-max-per-core", "conntrack.maxPerCore", ct.MaxPerCore,
			"connections to track for each CPU; 0 leaves the limit alone"},
		{"conntrack-min", "conntrack.min", ct.Min, "connections to track at least, unless conntrack-max-per-core is 0"},
		{"conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", &ct.TCPEstablishedTimeout.Duration,
			"idle timeout of established TCP connections; 0 keeps the kernel's"},
		{"conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", &ct.TCPCloseWaitTimeout.Duration,
			"timeout of half-closed TCP connections (CLOSE_WAIT); 0 keeps the kernel's"},
		{"conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", &ct.TCPBeLiberal,
			"let TCP packets outside the window pass as valid"},
		{"conntrack-udp-timeout", "conntrack.udpTimeout", &ct.UDPTimeout.Duration,
			"timeout of UDP flows without an answer; 0 keeps the kernel's"},
		{"conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", &ct.UDPStreamTimeout.Duration,
			"idle timeout of UDP flows with answers; 0 keeps the kernel's"},
	}
}

func (f *Flags) serveFlags() []option {
	return []option{
		{"healthz-bind-address", "healthzBindAddress", &f.file.HealthzBindAddress, "IP and port of /healthz and /livez"},
		{"metrics-bind-address", "metricsBindAddress", &f.file.MetricsBindAddress,
			"IP and port of /metrics and the other views"},
		{"bind-address-hard-fail", "bindAddressHardFail", &f.file.BindAddressHardFail,
			"exit when an address cannot be listened on, instead of trying again every few seconds"},
		{"service-metrics-limit", "", &f.most.services,
			"ports of Services that have metrics of their own at most, in the order of their names; 0 for none"},
		{"endpoint-metrics-limit", "", &f.most.endpoints,
			"endpoints of these ports that have metrics of their own at most; 0 for none"},
		{"profiling", "enableProfiling", &f.file.EnableProfiling, "serve /debug/pprof beside /metrics"},
		{"show-hidden-metrics-for-version", "showHiddenMetricsForVersion", &f.file.ShowHiddenMetricsForVersion,
			"accepted for compatibility; no metric is hidden here"},
		{"healthz-port", "healthzBindAddress", &f.ports.healthz, "port of the health checks; 0 turns them off"},
		{"metrics-port", "metricsBindAddress", &f.ports.metrics, "port of the metrics; 0 turns them off"},
	}
}

func (f *Flags) loggingFlags() []option {
	const noEffect = "accepted for compatibility; has no effect"
	l := &f.file.Logging
	return []option{
		{"v", "logging.verbosity", logs.VerbosityLevelPflag(&l.Verbosity), "how much to log: 0 what an operator must know, 2 what the daemon does, 4 and more how"},
		{"vmodule", "logging.vmodule", logs.VModuleConfigurationPflag(&l.VModule),
			"verbosity of single source files, for example reconcile*=4,plan=2; text format only"},
		{"logging-format", "logging.format", &l.Format, "log format: text or json"},
		{"log-flush-frequency", "logging.flushFrequency", &l.FlushFrequency.Duration.Duration,
			"longest time that log lines stay in a buffer; more than 0"},
		{"log-text-split-stream", "logging.options.text.splitStream", &l.Options.Text.SplitStream, noEffect},
		{"log-text-info-buffer-size", "logging.options.text.infoBufferSize", &l.Options.Text.InfoBufferSize, noEffect},
		{"log-json-split-stream", "logging.options.json.splitStream", &l.Options.JSON.SplitStream, noEffect},
		{"log-json-info-buffer-size", "logging.options.json.infoBufferSize", &l.Options.JSON.InfoBufferSize, noEffect},
	}
}

// overlayLogging lets the logging flags win over the file; the patterns of --vmodule come first.
func (f *Flags) overlayLogging(to *logs.LoggingConfiguration, given map[string]bool) {
	from := f.file.DeepCopy().Logging
	to.VModule = append(from.VModule, to.VModule...)
	for name, copy := range map[string]func(){
		"v":                         func() { to.Verbosity = from.Verbosity },
		"logging-format":            func() { to.Format = from.Format },
		"log-flush-frequency":       func() { to.FlushFrequency = from.FlushFrequency },
		"log-text-split-stream":     func() { to.Options.Text.SplitStream = from.Options.Text.SplitStream },
		"log-text-info-buffer-size": func() { to.Options.Text.InfoBufferSize = from.Options.Text.InfoBufferSize },
		"log-json-split-stream":     func() { to.Options.JSON.SplitStream = from.Options.JSON.SplitStream },
		"log-json-info-buffer-size": func() { to.Options.JSON.InfoBufferSize = from.Options.JSON.InfoBufferSize },
	} {
		if given[name] {
			copy()
		}
	}
}

func (f *Flags) otherModeFlags() []option {
	const elsewhere = "accepted for compatibility; belongs to kube-proxy's iptables mode"
	ipt := &f.file.IPTables
	return []option{
		{"iptables-localhost-nodeports", "iptables.localhostNodePorts", ipt.LocalhostNodePorts, elsewhere},
		{"iptables-sync-period", "iptables.syncPeriod", &ipt.SyncPeriod.Duration, elsewhere},
		{"iptables-min-sync-period", "iptables.minSyncPeriod", &ipt.MinSyncPeriod.Duration, elsewhere},
	}
}
