package config

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	logs "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs-proxy/internal/service"
)

// The ports of kube-proxy's listeners.
const (
	healthzPort = 10256
	metricsPort = 10249
)

// ModeIPVS is the one mode this daemon has.
const ModeIPVS = "ipvs"

// setDefaults fills in what a file leaves out, as kube-proxy 1.37.2 does (pkg/proxy/apis/config/v1alpha1/defaults.go),
// except that the mode is ipvs.
func setDefaults(file *v1alpha1.KubeProxyConfiguration) {
	setNameDefaults(file)
	setPeriodDefaults(file)
	setNumberDefaults(file)
	l := &file.Logging
	logs.SetRecommendedLoggingConfiguration(l)
	// A quantity remembers its text once it was printed. All are, so that equal files are equal to reflect.DeepEqual.
	_ = l.Options.Text.InfoBufferSize.String()
	_ = l.Options.JSON.InfoBufferSize.String()
	if len(l.VModule) == 0 {
		l.VModule = nil
	}
	if file.FeatureGates == nil {
		file.FeatureGates = make(map[string]bool)
	}
}

// setNameDefaults fills in what must not be empty. Flags that are given as empty mean the default too.
func setNameDefaults(file *v1alpha1.KubeProxyConfiguration) {
	file.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kind))
	orString((*string)(&file.Mode), ModeIPVS)
	orString((*string)(&file.DetectLocalMode), string(LocalClusterCIDR))
	orString(&file.ClientConnection.ContentType, "application/vnd.kubernetes.protobuf")
	orString(&file.BindAddress, "0.0.0.0")
	everywhere, loopback := "0.0.0.0", "127.0.0.1"
	// What is no address at all counts as IPv6, as in kube-proxy; it is refused later.
	if addr, err := service.ParseAddr(file.BindAddress); err != nil || !addr.Unmap().Is4() {
		everywhere, loopback = "::", "::1"
	}
	orString(&file.HealthzBindAddress, everywhere)
	orString(&file.MetricsBindAddress, loopback)
	file.HealthzBindAddress = withPort(file.HealthzBindAddress, healthzPort)
	file.MetricsBindAddress = withPort(file.MetricsBindAddress, metricsPort)
}

// setPeriodDefaults: a period of 0 in a file means the default, since Go's zero cannot be told from what is left out.
func setPeriodDefaults(file *v1alpha1.KubeProxyConfiguration) {
	orDuration(&file.IPVS.SyncPeriod.Duration, 30*time.Second)
	orDuration(&file.IPTables.SyncPeriod.Duration, 30*time.Second)
	orDuration(&file.IPTables.MinSyncPeriod.Duration, time.Second)
	orDuration(&file.NFTables.SyncPeriod.Duration, 30*time.Second)
	orDuration(&file.NFTables.MinSyncPeriod.Duration, time.Second)
	orDuration(&file.ConfigSyncPeriod.Duration, 15*time.Minute)
}

func setNumberDefaults(file *v1alpha1.KubeProxyConfiguration) {
	if file.ClientConnection.QPS == 0 {
		file.ClientConnection.QPS = 5
	}
	if file.ClientConnection.Burst == 0 {
		file.ClientConnection.Burst = 10
	}
	orPointer(&file.OOMScoreAdj, -999)
	orPointer(&file.IPTables.MasqueradeBit, 14)
	orPointer(&file.IPTables.LocalhostNodePorts, true)
	orPointer(&file.NFTables.MasqueradeBit, 14)
	ct := &file.Conntrack
	orPointer(&ct.MaxPerCore, 32<<10)
	orPointer(&ct.Min, 128<<10)
	orPointer(&ct.TCPEstablishedTimeout, duration(24*time.Hour))
	orPointer(&ct.TCPCloseWaitTimeout, duration(time.Hour))
}

func orString(p *string, value string) {
	if *p == "" {
		*p = value
	}
}

func orDuration(p *time.Duration, value time.Duration) {
	if *p == 0 {
		*p = value
	}
}

func orPointer[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// withPort adds a port to an IP address; everything else it returns as it is.
func withPort(address string, port int32) string {
	if _, err := netip.ParseAddr(address); err != nil {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}
