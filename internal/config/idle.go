package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// warnOfIdle names the fields that are set to something, and do nothing here.
func (c *checker) warnOfIdle(file *v1alpha1.KubeProxyConfiguration) {
	if names := c.changed(elsewhere(file), elsewhere(defaultFile())); len(names) > 0 {
		c.warn("%s: no effect here, because it belongs to another proxy mode or operating system; remove it",
			strings.Join(names, ", "))
	}
	if names := c.changed(obsolete(file), obsolete(defaultFile())); len(names) > 0 {
		c.warn("%s: accepted for compatibility, and has no effect; remove it", strings.Join(names, ", "))
	}
	if len(file.FeatureGates) > 0 {
		c.warn("%s: kube-proxy's feature gates have no effect here (%s); remove them", c.name("featureGates"),
			strings.Join(slices.Sorted(maps.Keys(file.FeatureGates)), ", "))
	}
}

// changed returns the sorted names of the fields whose values are not the default.
func (c *checker) changed(values, defaults map[string]any) []string {
	var names []string
	for path, value := range values {
		if value != defaults[path] {
			names = append(names, c.name(path))
		}
	}
	slices.Sort(names)
	return names
}

// elsewhere lists the fields of other modes and systems.
func elsewhere(file *v1alpha1.KubeProxyConfiguration) map[string]any {
	return map[string]any{
		"iptables.localhostNodePorts":     *file.IPTables.LocalhostNodePorts,
		"iptables.syncPeriod":             file.IPTables.SyncPeriod,
		"iptables.minSyncPeriod":          file.IPTables.MinSyncPeriod,
		"nftables.masqueradeBit":          *file.NFTables.MasqueradeBit,
		"nftables.masqueradeAll":          file.NFTables.MasqueradeAll,
		"nftables.syncPeriod":             file.NFTables.SyncPeriod,
		"nftables.minSyncPeriod":          file.NFTables.MinSyncPeriod,
		"winkernel.networkName":           file.Winkernel.NetworkName,
		"winkernel.sourceVip":             file.Winkernel.SourceVip,
		"winkernel.enableDSR":             file.Winkernel.EnableDSR,
		"winkernel.rootHnsEndpointName":   file.Winkernel.RootHnsEndpointName,
		"winkernel.forwardHealthCheckVip": file.Winkernel.ForwardHealthCheckVip,
		"windowsRunAsService":             file.WindowsRunAsService,
	}
}

// obsolete lists the fields that mean nothing to this daemon in any mode.
func obsolete(file *v1alpha1.KubeProxyConfiguration) map[string]any {
	options := &file.Logging.Options
	return map[string]any{
		"portRange":                           file.PortRange,
		"showHiddenMetricsForVersion":         file.ShowHiddenMetricsForVersion,
		"logging.options.text.splitStream":    options.Text.SplitStream,
		"logging.options.text.infoBufferSize": options.Text.InfoBufferSize.Value(),
		"logging.options.json.splitStream":    options.JSON.SplitStream,
		"logging.options.json.infoBufferSize": options.JSON.InfoBufferSize.Value(),
	}
}

// defaultFile returns a file of which every field has its default.
func defaultFile() *v1alpha1.KubeProxyConfiguration {
	file := new(v1alpha1.KubeProxyConfiguration)
	setDefaults(file)
	return file
}

// index returns the path of an item of a list.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
