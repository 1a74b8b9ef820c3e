package takeover

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/e2e/cluster"
)

// syncPatience is how long kube-proxy's first sync may take: it starts a process for each entry of a set.
const syncPatience = 5 * time.Minute

// config has kube-proxy sync when something changes and not in between. It has no say in settings of the whole kernel.
const config = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %q}
hostnameOverride: %q
clusterCIDR: %s
conntrack: {maxPerCore: 0}
ipvs: {scheduler: rr, syncPeriod: 1h, minSyncPeriod: 0s}
iptables: {syncPeriod: 1h, minSyncPeriod: 0s}
nftables: {syncPeriod: 1h, minSyncPeriod: 0s}
`

// startKubeProxy starts kube-proxy on the first node and returns when it has synced both families once.
func startKubeProxy(t *testing.T, c *cluster.Cluster, mode string) *cluster.KubeProxy {
	t.Helper()
	k := cluster.StartKubeProxy(t, c.Node, fmt.Sprintf(config, mode, os.Getenv("KUBECONFIG"), c.NodeName(c.Node), podCIDRs))
	cluster.AwaitFor(t, syncPatience, "kube-proxy's first sync", func() error {
		if err := k.Alive(); err != nil {
			t.Fatal(err)
		}
		return synced(k.Output.String(), mode)
	})
	return k
}

// synced says whether a sync of each family has ended, by what kube-proxy logs.
func synced(log, mode string) error {
	done := map[string]string{"ipvs": "syncProxyRules complete", "iptables": "SyncProxyRules complete", "nftables": "SyncProxyRules complete"}[mode]
	if times := strings.Count(log, done); times < 2 {
		return fmt.Errorf("%d syncs have ended, want one for each family", times)
	}
	return nil
}
