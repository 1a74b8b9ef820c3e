package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// refused holds what a file must not say, the name and value that the error must show, and a part of the remedy. Where
// flag is set, the same is tried on the command line.
func refused() []struct{ file, where, remedy, flag, flagWhere string } {
	const ct = "--conntrack-"
	return []struct{ file, where, remedy, flag, flagWhere string }{
		{"mode: iptables", `mode: "iptables"`, "kube-ipvs-proxy", "--proxy-mode=iptables", `--proxy-mode: "iptables"`},
		{"mode: IPVS", `mode: "IPVS"`, "ipvs", "--proxy-mode=nftables", `--proxy-mode: "nftables"`},
		{"ipvs: {scheduler: r r}", `ipvs.scheduler: "r r"`, "rr, wrr", "--ipvs-scheduler=RR", `--ipvs-scheduler: "RR"`},
		{"ipvs: {scheduler: a-scheduler-of-16}", `a-scheduler-of-16`, "rr, wrr", "", ""},
		{"ipvs: {excludeCIDRs: [10.0.0.0/8, 10.0.0.1]}", `ipvs.excludeCIDRs[1]: "10.0.0.1"`, "CIDR",
			"--ipvs-exclude-cidrs=x", `--ipvs-exclude-cidrs[0]: "x"`},
		{"ipvs: {excludeCIDRs: [\"::ffff:10.0.0.0/104\"]}", `ipvs.excludeCIDRs[0]`, "CIDR", "", ""},
		{"ipvs: {syncPeriod: -1s}", `ipvs.syncPeriod: "-1s"`, "more than 0", "--ipvs-sync-period=0", `--ipvs-sync-period: "0s"`},
		{"ipvs: {minSyncPeriod: -1s}", `ipvs.minSyncPeriod: "-1s"`, "0 to 30s", "--ipvs-min-sync-period=-1s", `--ipvs-min-sync-period: "-1s"`},
		{"ipvs: {minSyncPeriod: 31s}", `ipvs.minSyncPeriod: "31s"`, "raise ipvs.syncPeriod", "--ipvs-min-sync-period=31s", "raise --ipvs-sync-period"},
		{"ipvs: {tcpTimeout: -1s}", `ipvs.tcpTimeout: "-1s"`, "0 to keep", "--ipvs-tcp-timeout=-1s", "--ipvs-tcp-timeout"},
		{"ipvs: {tcpFinTimeout: -1s}", `ipvs.tcpFinTimeout: "-1s"`, "0 to keep", "--ipvs-tcpfin-timeout=-1s", "--ipvs-tcpfin-timeout"},
		{"ipvs: {udpTimeout: -1s}", `ipvs.udpTimeout: "-1s"`, "0 to keep", "--ipvs-udp-timeout=-1s", "--ipvs-udp-timeout"},
		{"iptables: {masqueradeBit: 32}", `iptables.masqueradeBit: "32"`, "0 to 31", "--iptables-masquerade-bit=-1", "--iptables-masquerade-bit"},
		{"clusterCIDR: 10.0.0.0", `clusterCIDR: "10.0.0.0"`, "CIDR", "--cluster-cidr=a,b", "--cluster-cidr"},
		{"clusterCIDR: \"10.0.0.0/8,10.0.0.0/9\"", `clusterCIDR: "10.0.0.0/8,10.0.0.0/9"`, "one of IPv6", "", ""},
		{"clusterCIDR: \"10.0.0.0/8,fd00::/8,fc00::/8\"", `clusterCIDR: "10`, "one of IPv6", "", ""},
		{"detectLocalMode: Guess", `detectLocalMode: "Guess"`, "ClusterCIDR, NodeCIDR", "--detect-local-mode=x", "--detect-local-mode"},
		{"detectLocalMode: BridgeInterface", `detectLocal.bridgeInterface: ""`, "name of an interface",
			"--detect-local-mode=BridgeInterface", "--pod-bridge-interface"},
		{"detectLocalMode: InterfaceNamePrefix", `detectLocal.interfaceNamePrefix: ""`, "name of an interface",
			"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix"},
		{"detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth+}", `"veth+"`, "leave out the +", "", ""},
		{"detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: fifteenletters1}", `"fifteenletters1"`, "1 to 14", "", ""},
		{"detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: \"a b\"}", `"a b"`, "1 to 15", "", ""},
		{"nodePortAddresses: [primary, 10.0.0.300/8, primary]", "nodePortAddresses[1]: \"10.0.0.300/8\"", "once",
			"--nodeport-addresses=primary,any", `--nodeport-addresses[1]: "any"`},
		{"bindAddress: node", `bindAddress: "node"`, "0.0.0.0", "--bind-address=node", `--bind-address: "node"`},
		{"healthzBindAddress: \":10256\"", `healthzBindAddress: ":10256"`, "IP address", "--healthz-bind-address=:1", "--healthz-bind-address"},
		{"metricsBindAddress: 0.0.0.0:0", `metricsBindAddress: "0.0.0.0:0"`, "1 to 65535", "--metrics-port=70000", "--metrics-port"},
		{"oomScoreAdj: 1001", `oomScoreAdj: "1001"`, "-1000 to 1000", "--oom-score-adj=-1001", "--oom-score-adj"},
		{"conntrack: {maxPerCore: -1}", `conntrack.maxPerCore: "-1"`, "from 0", ct + "max-per-core=-1", ct + "max-per-core"},
		{"conntrack: {min: -1}", `conntrack.min: "-1"`, "from 0", ct + "min=-1", ct + "min"},
		{"conntrack: {tcpEstablishedTimeout: -1s}", "conntrack.tcpEstablishedTimeout", "0 to keep",
			ct + "tcp-timeout-established=-1s", ct + "tcp-timeout-established"},
		{"conntrack: {tcpCloseWaitTimeout: -1s}", "conntrack.tcpCloseWaitTimeout", "0 to keep",
			ct + "tcp-timeout-close-wait=-1s", ct + "tcp-timeout-close-wait"},
		{"conntrack: {udpTimeout: -1s}", "conntrack.udpTimeout", "0 to keep", ct + "udp-timeout=-1s", ct + "udp-timeout"},
		{"conntrack: {udpStreamTimeout: -1s}", "conntrack.udpStreamTimeout", "0 to keep",
			ct + "udp-timeout-stream=-1s", ct + "udp-timeout-stream"},
		{"clientConnection: {burst: -1}", `clientConnection.burst: "-1"`, "from 0", "--kube-api-burst=-1", "--kube-api-burst"},
		{"configSyncPeriod: -1s", `configSyncPeriod: "-1s"`, "more than 0", "--config-sync-period=0", "--config-sync-period"},
		{"hostnameOverride: \"  \"", `hostnameOverride: "  "`, "no name", "--hostname-override=  ", "--hostname-override"},
		{"logging: {format: xml}", `logging.format: "xml"`, "text or json", "--logging-format=xml", "--logging-format"},
		{"logging: {flushFrequency: -1s}", `logging.flushFrequency: "-1s"`, "more than 0", "--log-flush-frequency=0", "--log-flush-frequency"},
		{"logging: {verbosity: 4294967295}", `logging.verbosity: "4294967295"`, "from 0", "", ""},
		{"logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}", `logging.vmodule: "a=1"`, "logging.format to text", "", ""},
		{"logging: {vmodule: [{filePattern: \"a=b\", verbosity: 1}]}", `logging.vmodule[0]: "a=b"`, "without .go", "", ""},
	}
}

func TestRefused(t *testing.T) {
	for _, c := range refused() {
		t.Run(c.file, func(t *testing.T) {
			_, err := load(t, "--config="+written(t, c.file+"\n"))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			wantAll(t, err.Error(), c.where, c.remedy)
			if c.flag == "" {
				return
			}
			_, err = load(t, c.flag)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%s: error %v", c.flag, err)
			}
			wantAll(t, err.Error(), c.flagWhere)
		})
	}
}

func TestOwnFlagsRefused(t *testing.T) {
	for arg, part := range map[string]string{
		"--keep-kube-proxy":          "it says what --cleanup leaves",
		"--service-metrics-limit=-1": `--service-metrics-limit: "-1"`, "--endpoint-metrics-limit=-1": `--endpoint-metrics-limit: "-1"`,
		"--drain-timeout=-1s": `--drain-timeout: "-1s"`, "--internal-marks=9-1": `--internal-marks: "9-1"`, "--kube-api-qps=NaN": "--kube-api-qps",
	} {
		_, err := load(t, arg)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if _, err := loadOn(t, Host{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "NODE_NAME") {
		t.Errorf("a host without a name: %v", err)
	}
}

func TestLoggingFlagOverAFileIsNamedAsFlag(t *testing.T) {
	_, err := load(t, "--config="+written(t, "ipvs: {scheduler: R}\n"), "--logging-format=xml", "--hostname-override= ")
	if err == nil {
		t.Fatal("accepted")
	}
	wantAll(t, err.Error(), `--logging-format: "xml"`, `--hostname-override: " "`, `ipvs.scheduler: "R"`)
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	_, err := load(t, "--config="+written(t, "mode: nftables\nipvs: {scheduler: R, tcpTimeout: -1s}\nclusterCIDR: x\n"), "--drain-timeout=-1s")
	if err == nil {
		t.Fatal("accepted")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 6 || lines[0] != ErrInvalid.Error()+":" {
		t.Errorf("not a line for each mistake:\n%v", err)
	}
}

// Numbers of addresses are decimal whatever their zeros, as kube-proxy reads them. Of CIDRs that other programs may read
// otherwise there is a warning.
func TestLeadingZeros(t *testing.T) {
	c := mustLoad(t, "--config="+written(t, "bindAddress: 192.000.002.001\nclusterCIDR: \"010.244.0.0/016,fd00::/64\"\nnodePortAddresses: [010.0.0.0/8]\n"+
		"ipvs: {excludeCIDRs: [172.016.0.0/12]}\n"))
	text := fmt.Sprint(c.Node.Bind, c.Masquerade.CIDRs, c.IPVS.Exclude)
	if want := "192.0.2.1 [10.244.0.0/16 fd00::/64] [172.16.0.0/12]"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	inside, outside := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("8.1.2.3")
	facts := service.Facts{Families: []dataplane.Family{dataplane.IPv4}, Local: []netip.Addr{outside, inside}}
	if got := c.Node.NodePorts.Select(facts); !slices.Equal(got, []netip.Addr{inside}) {
		t.Errorf("NodePorts at %v, want %v", got, inside)
	}
	if len(c.Warnings) != 2 {
		t.Errorf("warnings %q, want two", c.Warnings)
	}
	wantAll(t, strings.Join(c.Warnings, "\n"), `clusterCIDR: "010.244.0.0/016" is read as 10.244.0.0/16`, `ipvs.excludeCIDRs[0]: "172.016.0.0/12"`)
	_, err := load(t, "--config="+written(t, "metricsBindAddress: 127.0.0.01:10249\n"))
	if !errors.Is(err, ErrInvalid) { // kube-proxy accepts it, and then fails to listen, for ever
		t.Errorf("an address to listen on that nobody can listen on: %v", err)
	}
}

// What kube-proxy accepts is accepted, though it may look odd.
func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		file string
		get  func(Config) any
		want any
	}{
		{"detectLocalMode: NodeCIDR\nclusterCIDR: not looked at", func(c Config) any { return c.Masquerade },
			Masquerade{Mark: 0x4000, Marks: service.DefaultMarks(), Mode: LocalNodeCIDR}},
		{"detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni+}", func(c Config) any { return c.Masquerade.Interface }, "cni+"},
		{"detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: fourteenletter}",
			func(c Config) any { return c.Masquerade.Interface }, "fourteenletter+"},
		{"bindAddress: \"::ffff:192.0.2.1\"", func(c Config) any { return c.Node.Bind.String() + c.Serve.Metrics }, "192.0.2.1127.0.0.1:10249"},
		{"bindAddress: \"::\"", func(c Config) any { return c.Node.Bind.IsValid() }, false},
		{"ipvs: {scheduler: maglev_2}", func(c Config) any { return c.IPVS.Scheduler }, "maglev_2"},
		{"iptables: {masqueradeBit: 0}", func(c Config) any { return c.Masquerade.Mark }, uint32(1)},
		{"clientConnection: {qps: -1}", func(c Config) any { return c.API.QPS }, float32(-1)},
		{"clusterCIDR: fd00::/64", func(c Config) any { return c.Masquerade.CIDRs }, prefixes("fd00::/64")},
	} {
		got := c.get(mustLoad(t, "--config="+written(t, c.file+"\n")))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.file, got, c.want)
		}
	}
}

func TestFractionsOfASecondAreCut(t *testing.T) {
	c := mustLoad(t, "--config="+written(t, "ipvs: {tcpTimeout: 500ms, tcpFinTimeout: 2500ms}\n"))
	if c.IPVS.TCPTimeout != 0 || c.IPVS.TCPFinTimeout != 2*time.Second || len(c.Warnings) != 2 {
		t.Errorf("%+v %q", c.IPVS, c.Warnings)
	}
}

func TestP32UDPTimeoutReachesConntrack(t *testing.T) {
	known := Host{Hostname: "n", UDPTimeout: 45 * time.Second, UDPStreamTimeout: 400 * time.Second}
	for _, c := range []struct {
		name, args  string
		host        Host
		udp, stream time.Duration
	}{
		{"not set", "", Host{Hostname: "n"}, 0, 0},
		{"above both defaults", "--ipvs-udp-timeout=300s", Host{Hostname: "n"}, 300 * time.Second, 300 * time.Second},
		{"between the defaults", "--ipvs-udp-timeout=60s", Host{Hostname: "n"}, 60 * time.Second, 0},
		{"below both: never lowered", "--ipvs-udp-timeout=10s", Host{Hostname: "n"}, 0, 0},
		{"the host's are higher", "--ipvs-udp-timeout=40s", known, 0, 0},
		{"one of the host's is higher", "--ipvs-udp-timeout=300s", known, 300 * time.Second, 0},
		{"set high enough", "--ipvs-udp-timeout=300s --conntrack-udp-timeout=300s --conntrack-udp-timeout-stream=600s",
			Host{Hostname: "n"}, 300 * time.Second, 600 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := loadOn(t, c.host, strings.Fields(c.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Conntrack.UDPTimeout != c.udp || got.Conntrack.UDPStreamTimeout != c.stream {
				t.Errorf("conntrack %+v", got.Conntrack)
			}
			if strings.Contains(c.args, "conntrack") {
				return
			}
			if got.File.Conntrack.UDPTimeout.Duration != 0 || got.File.Conntrack.UDPStreamTimeout.Duration != 0 {
				t.Error("what was derived went into the file, where it would count as set")
			}
		})
	}
	_, err := load(t, "--config="+written(t, "ipvs: {udpTimeout: 300s}\nconntrack: {udpTimeout: 30s, udpStreamTimeout: 120s}\n"))
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("a file that contradicts itself: %v", err)
	}
	wantAll(t, err.Error(), `ipvs.udpTimeout: "5m0s"`, "raise conntrack.udpTimeout to 5m0s", "raise conntrack.udpStreamTimeout")
}

func TestWarningsNameWhatWasSetOnly(t *testing.T) {
	c := mustLoad(t, "--iptables-sync-period=1m", "--feature-gates=X=true", "--show-hidden-metrics-for-version=1.36", "--iptables-min-sync-period=1s")
	if len(c.Warnings) != 3 {
		t.Fatalf("%q", c.Warnings)
	}
	wantAll(t, strings.Join(c.Warnings, "\n"), "--iptables-sync-period: no effect", "--feature-gates", "(X)", "--show-hidden-metrics-for-version")
	if strings.Contains(strings.Join(c.Warnings, ""), "min-sync-period") {
		t.Errorf("names a flag at its default: %q", c.Warnings)
	}
}
