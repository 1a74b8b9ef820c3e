package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"kube-ipvs-proxy/internal/service"
)

// kubeProxyFlags are the flags of kube-proxy 1.37.2, the two deprecated ones included.
const kubeProxyFlags = `
bind-address bind-address-hard-fail cleanup cluster-cidr config config-sync-period
conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait
conntrack-tcp-timeout-established conntrack-udp-timeout conntrack-udp-timeout-stream
detect-local-mode feature-gates healthz-bind-address healthz-port hostname-override init-only
iptables-localhost-nodeports iptables-masquerade-bit iptables-min-sync-period iptables-sync-period
ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp ipvs-sync-period
ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout
kube-api-burst kube-api-content-type kube-api-qps kubeconfig
log-flush-frequency log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size
log-text-split-stream logging-format masquerade-all master metrics-bind-address metrics-port
nodeport-addresses oom-score-adj pod-bridge-interface pod-interface-name-prefix profiling proxy-mode
show-hidden-metrics-for-version v version vmodule write-config-to`

const ownFlags = `drain-timeout endpoint-metrics-limit internal-marks ipvs-no-fallback keep-kube-proxy manifests reload-config
service-metrics-limit`

func TestAllFlagsAreThereAndExplained(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	NewFlags().AddTo(fs)
	wanted := make(map[string]bool)
	for _, name := range strings.Fields(kubeProxyFlags + " " + ownFlags) {
		wanted[name] = true
		flag := fs.Lookup(name)
		switch {
		case flag == nil:
			t.Errorf("--%s is missing", name)
		case len(flag.Usage) < 20 || strings.Contains(flag.Usage, "\n"):
			t.Errorf("--%s: usage %q is not a line that explains it", name, flag.Usage)
		}
	}
	fs.VisitAll(func(flag *pflag.Flag) {
		if !wanted[flag.Name] {
			t.Errorf("--%s is in no list of this test", flag.Name)
		}
	})
}

// flagCase is what one flag, alone on the command line, makes of a part of the configuration.
type flagCase struct {
	arg  string
	get  func(Config) any
	want any
}

func flagCases() []flagCase {
	return []flagCase{
		{"--write-config-to=/tmp/x", func(c Config) any { return c.Run.WriteTo }, "/tmp/x"},
		{"--cleanup", func(c Config) any { return c.Run.Cleanup }, true},
		{"--init-only", func(c Config) any { return c.Run.InitOnly }, true},
		{"--version", func(c Config) any { return c.Run.ShowVersion }, true},
		{"--oom-score-adj=-5", func(c Config) any { return c.Run.OOMScoreAdj }, -5},
		{"--feature-gates=A=true,B=false", func(c Config) any { return c.File.FeatureGates }, map[string]bool{"A": true, "B": false}},
		{"--kubeconfig=/k", func(c Config) any { return c.API.Kubeconfig }, "/k"},
		{"--master=https://m", func(c Config) any { return c.API.Master }, "https://m"},
		{"--manifests=/m", func(c Config) any { return c.API.Manifests }, "/m"},
		{"--kube-api-content-type=application/json", func(c Config) any { return c.API.ContentType }, "application/json"},
		{"--kube-api-qps=7.5", func(c Config) any { return c.API.QPS }, float32(7.5)},
		{"--kube-api-burst=70", func(c Config) any { return c.API.Burst }, 70},
		{"--config-sync-period=1m", func(c Config) any { return c.API.Resync }, time.Minute},
		{"--hostname-override= Node-A ", func(c Config) any { return c.Node.Name }, "node-a"},
		{"--bind-address=192.0.2.1", func(c Config) any { return c.Node.Bind }, netip.MustParseAddr("192.0.2.1")},
		{"--nodeport-addresses=primary,10.0.0.0/8", func(c Config) any { return c.Node.NodePorts.String() }, "primary,10.0.0.0/8"},
		{"--proxy-mode=ipvs", func(c Config) any { return string(c.File.Mode) }, "ipvs"},
		{"--reload-config", func(c Config) any { return c.Run.Reload }, true},
		{"--internal-marks=0x100-0x1ff", func(c Config) any { return c.Masquerade.Marks }, service.MarkRange{First: 0x100, Last: 0x1ff}},
		{"--drain-timeout=1h", func(c Config) any { return c.IPVS.DrainTimeout }, time.Hour},
		{"--v=4", func(c Config) any { return c.Logging.Verbosity }, 4},
		{"-v4", func(c Config) any { return c.Logging.Verbosity }, 4},
		{"--vmodule=a*=3,b=1", func(c Config) any { return c.Logging.Modules }, []LogModule{{"a*", 3}, {"b", 1}}},
		{"--logging-format=json", func(c Config) any { return c.Logging.Format }, LogJSON},
		{"--log-flush-frequency=1s", func(c Config) any { return c.Logging.FlushFrequency }, time.Second},
		{"--log-text-split-stream", func(c Config) any { return c.File.Logging.Options.Text.SplitStream }, true},
		{"--log-json-split-stream", func(c Config) any { return c.File.Logging.Options.JSON.SplitStream }, true},
		{"--log-text-info-buffer-size=1Ki", func(c Config) any { return c.File.Logging.Options.Text.InfoBufferSize.Value() }, int64(1024)},
		{"--log-json-info-buffer-size=1Ki", func(c Config) any { return c.File.Logging.Options.JSON.InfoBufferSize.Value() }, int64(1024)},
		{"--show-hidden-metrics-for-version=1.36", func(c Config) any { return c.File.ShowHiddenMetricsForVersion }, "1.36"},
	}
}

func dataPlaneFlagCases() []flagCase {
	return []flagCase{
		{"--ipvs-scheduler=sh", func(c Config) any { return c.IPVS.Scheduler }, "sh"},
		{"--ipvs-no-fallback", func(c Config) any { return c.IPVS.NoFallback }, true},
		{"--ipvs-exclude-cidrs=10.0.0.7/24,fd00::/64", func(c Config) any { return c.IPVS.Exclude }, prefixes("10.0.0.0/24", "fd00::/64")},
		{"--ipvs-strict-arp", func(c Config) any { return c.IPVS.StrictARP }, true},
		{"--ipvs-sync-period=10s", func(c Config) any { return c.IPVS.SyncPeriod }, 10 * time.Second},
		{"--ipvs-min-sync-period=2s", func(c Config) any { return c.IPVS.MinSyncPeriod }, 2 * time.Second},
		{"--ipvs-tcp-timeout=5m", func(c Config) any { return c.IPVS.TCPTimeout }, 5 * time.Minute},
		{"--ipvs-tcpfin-timeout=6s", func(c Config) any { return c.IPVS.TCPFinTimeout }, 6 * time.Second},
		{"--ipvs-udp-timeout=7s", func(c Config) any { return c.IPVS.UDPTimeout }, 7 * time.Second},
		{"--masquerade-all", func(c Config) any { return c.Masquerade.All }, true},
		{"--iptables-masquerade-bit=31", func(c Config) any { return c.Masquerade.Mark }, uint32(1 << 31)},
		{"--detect-local-mode=NodeCIDR", func(c Config) any { return c.Masquerade.Mode }, LocalNodeCIDR},
		{"--cluster-cidr=10.1.2.3/16,fd00::1/64", func(c Config) any { return c.Masquerade.CIDRs }, prefixes("10.1.0.0/16", "fd00::/64")},
		{"--pod-bridge-interface=cni0", func(c Config) any { return c.File.DetectLocal.BridgeInterface }, "cni0"},
		{"--pod-interface-name-prefix=veth", func(c Config) any { return c.File.DetectLocal.InterfaceNamePrefix }, "veth"},
		{"--conntrack-max-per-core=0", func(c Config) any { return c.Conntrack.MaxPerCore }, 0},
		{"--conntrack-min=1", func(c Config) any { return c.Conntrack.Min }, 1},
		{"--conntrack-tcp-be-liberal", func(c Config) any { return c.Conntrack.TCPBeLiberal }, true},
		{"--conntrack-tcp-timeout-established=0", func(c Config) any { return c.Conntrack.TCPEstablishedTimeout }, time.Duration(0)},
		{"--conntrack-tcp-timeout-close-wait=9s", func(c Config) any { return c.Conntrack.TCPCloseWaitTimeout }, 9 * time.Second},
		{"--conntrack-udp-timeout=8s", func(c Config) any { return c.Conntrack.UDPTimeout }, 8 * time.Second},
		{"--conntrack-udp-timeout-stream=9s", func(c Config) any { return c.Conntrack.UDPStreamTimeout }, 9 * time.Second},
		{"--healthz-bind-address=[::]:1", func(c Config) any { return c.Serve.Healthz }, "[::]:1"},
		{"--metrics-bind-address=::", func(c Config) any { return c.Serve.Metrics }, "[::]:10249"},
		{"--healthz-port=1", func(c Config) any { return c.Serve.Healthz }, "0.0.0.0:1"},
		{"--metrics-port=0", func(c Config) any { return c.Serve.Metrics }, ""},
		{"--bind-address-hard-fail", func(c Config) any { return c.Serve.HardFail }, true},
		{"--profiling", func(c Config) any { return c.Serve.Profiling }, true},
		{"--service-metrics-limit=0", func(c Config) any { return c.Serve.ServiceMetrics }, 0},
		{"--endpoint-metrics-limit=70", func(c Config) any { return c.Serve.EndpointMetrics }, 70},
		{"--iptables-localhost-nodeports=false", func(c Config) any { return *c.File.IPTables.LocalhostNodePorts }, false},
		{"--iptables-sync-period=4s", func(c Config) any { return c.File.IPTables.SyncPeriod.Duration }, 4 * time.Second},
		{"--iptables-min-sync-period=4s", func(c Config) any { return c.File.IPTables.MinSyncPeriod.Duration }, 4 * time.Second},
	}
}

func prefixes(values ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, value := range values {
		out = append(out, netip.MustParsePrefix(value))
	}
	return out
}

func TestEveryFlagArrives(t *testing.T) {
	tested := map[string]bool{"v": true, "config": true, "keep-kube-proxy": true} // these have tests of their own
	for _, c := range append(flagCases(), dataPlaneFlagCases()...) {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.arg, "--"), "=")
		tested[name] = true
		t.Run(c.arg, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.get(mustLoad(t, c.arg)), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if c.arg != "--version" && reflect.DeepEqual(c.want, c.get(mustLoad(t))) && c.arg != "--proxy-mode=ipvs" {
				t.Error("the same without the flag: this case shows nothing")
			}
		})
	}
	for _, name := range strings.Fields(kubeProxyFlags + " " + ownFlags) {
		if !tested[name] {
			t.Errorf("no case for --%s", name)
		}
	}
}

func TestWithConfigFlagsAreGivenInVain(t *testing.T) {
	path := written(t, "hostnameOverride: from-file\nipvs: {scheduler: lc}\nlogging: {verbosity: 1, vmodule: [{filePattern: f, verbosity: 2}]}\n")
	c := mustLoad(t, "--config="+path, "--ipvs-scheduler=sh", "--cluster-cidr=bad", "--healthz-port=7", "--hostname-override=Flag", "-v=6",
		"--vmodule=g=5", "--master=m", "--drain-timeout=1s", "--cleanup", "--log-flush-frequency=2s", "--logging-format=text")
	got := fmt.Sprint(c.Node.Name, c.IPVS.Scheduler, c.Serve.Healthz, c.Logging, c.API.Master, c.IPVS.DrainTimeout, c.Run.Cleanup, c.Run.ConfigFile == path)
	if want := "flaglc0.0.0.0:10256{6 text 2s [{g 5} {f 2}]}m1s true true"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(c.Warnings) != 1 {
		t.Fatalf("warnings: %q", c.Warnings)
	}
	wantAll(t, c.Warnings[0], "--ipvs-scheduler", "--cluster-cidr", "--healthz-port", path)
	if strings.Contains(c.Warnings[0], "--hostname-override") || strings.Contains(c.Warnings[0], "--vmodule") {
		t.Errorf("names flags that count: %s", c.Warnings[0])
	}
}

func TestEmptyHostnameFlagLeavesTheFile(t *testing.T) {
	path := written(t, "hostnameOverride: from-file\n")
	if c := mustLoad(t, "--config="+path, "--hostname-override="); c.Node.Name != "from-file" {
		t.Errorf("name %q", c.Node.Name)
	}
}

func TestLoadAgainReadsTheFileAgain(t *testing.T) {
	f := NewFlags()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddTo(fs)
	for i, scheduler := range []string{"lc", "sh"} {
		path := written(t, "ipvs: {scheduler: "+scheduler+"}\nlogging: {vmodule: [{filePattern: f, verbosity: 2}]}\n")
		if err := fs.Parse([]string{"--config=" + path, "--vmodule=g=5"}[:2-i]); err != nil {
			t.Fatal(err)
		}
		c, err := f.Load(Host{Hostname: "n"})
		if err != nil || c.IPVS.Scheduler != scheduler || len(c.Logging.Modules) != 2 {
			t.Errorf("%s: %+v %+v %v", scheduler, c.IPVS, c.Logging, err)
		}
	}
}

func TestDeprecatedPorts(t *testing.T) {
	for _, c := range []struct{ args, healthz, metrics string }{
		{"--healthz-port=1 --metrics-port=2", "0.0.0.0:1", "127.0.0.1:2"},
		{"--healthz-port=0 --metrics-port=0", "", ""},
		{"--healthz-port=1 --healthz-bind-address=192.0.2.1", "192.0.2.1:1", "127.0.0.1:10249"},
		{"--healthz-port=1 --healthz-bind-address=192.0.2.1:3", "192.0.2.1:3", "127.0.0.1:10249"},
		{"--metrics-port=2 --metrics-bind-address=", "0.0.0.0:10256", "127.0.0.1:10249"},
		{"--bind-address=::", "0.0.0.0:10256", "127.0.0.1:10249"},
	} {
		got := mustLoad(t, strings.Fields(c.args)...).Serve
		if got.Healthz != c.healthz || got.Metrics != c.metrics {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
	c := mustLoad(t, "--healthz-port=0", "--write-config-to=/x")
	wantAll(t, strings.Join(c.Warnings, "\n"), "--healthz-port=0", "/x")
}

func TestVersionReadsNothing(t *testing.T) {
	for _, arg := range []string{"--version", "--version=raw", "--version=true"} {
		if c := mustLoad(t, arg, "--config=/does/not/exist", "--proxy-mode=nonsense"); !c.Run.ShowVersion {
			t.Errorf("%s: %+v", arg, c.Run)
		}
	}
	if c := mustLoad(t, "--version=false"); c.Run.ShowVersion || c.Node.Name != "node-1" {
		t.Errorf("--version=false: %+v", c.Run)
	}
}

// B51: what to keep at a clean-up is only said together with it.
func TestB51KeepKubeProxyArrives(t *testing.T) {
	if run := mustLoad(t, "--cleanup", "--keep-kube-proxy").Run; !run.Cleanup || !run.KeepRival {
		t.Errorf("%+v", run)
	}
}
