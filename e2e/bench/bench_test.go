package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTraceTellsWhatIsCounted(t *testing.T) {
	const output = `101   epoll_pwait(4<anon_inode:[eventpoll]>,  <unfinished ...>
102   sendto(7<NETLINK:[GENERIC:188]>, [{nlmsg_len=56, nlmsg_type=IPVS, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq=7, nlmsg_pid=0}, "\x05\x01\x00"], 56, 0, NULL, 0) = 56
101   <... epoll_pwait resumed>[], 128, 0, NULL, 0) = 0
102   sendto(7<NETLINK:[GENERIC:188]>, [{nlmsg_len=56, nlmsg_type=IPVS, nlmsg_flags=NLM_F_REQUEST|0x300, nlmsg_seq=8, nlmsg_pid=0}, "\x08\x01\x00"], 56, 0, NULL, 0) = 56
102   sendto(7<NETLINK:[GENERIC:188]>, [{nlmsg_len=20, nlmsg_type=IPVS, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x300, nlmsg_seq=9, nlmsg_pid=0}, "\x04\x01\x00"], 20, 0, NULL, 0) = 20
102   sendto(3<NETLINK:[ROUTE:152]>, [{nlmsg_len=40, nlmsg_type=RTM_GETLINK, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP, nlmsg_seq=1, nlmsg_pid=0}, "\x00"], 40, 0, NULL, 0) = 40
102   write(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "NLM_F_DUMP", 10) = 10
102   clone(child_stack=0xc0, flags=CLONE_VM|CLONE_THREAD|CLONE_SYSVSEM) = 103
102   clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = 104
104   execve("/usr/sbin/iptables-save", ["iptables-save"], 0x1 /* 2 vars */ <unfinished ...>
102   --- SIGCHLD {si_signo=SIGCHLD} ---
104   +++ exited with 0 +++
`
	got, err := parseTrace(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Examples) != 4 {
		t.Errorf("examples %q, want two dumps, a clone and an execve", got.Examples)
	}
	got.Examples = nil
	if diff := cmp.Diff(trace{Calls: 9, Processes: 2, Sends: 4, Dumps: 2, Reads: 1}, got); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestQuantileIsAValueThatOccurred(t *testing.T) {
	values := []int{10, 20, 30, 40}
	for share, want := range map[float64]int{0: 10, 0.25: 10, 0.5: 20, 0.75: 30, 0.99: 40, 1: 40} {
		if got := quantile(values, share); got != want {
			t.Errorf("quantile(%v, %v) = %d, want %d", values, share, got, want)
		}
	}
	if got := quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("the median of nothing = %d, want 0", got)
	}
}

func TestTableShowsMediansAndRatios(t *testing.T) {
	measured := []measurement{
		{Contestant: self, Cold: start{Took: 3 * time.Second}, Single: load{Lags: []time.Duration{40 * time.Millisecond}}, Added: trace{Calls: 40}},
		{Contestant: self, Cold: start{Took: 1 * time.Second}, Single: load{Lags: []time.Duration{90 * time.Millisecond}}, Added: trace{Dumps: 1}},
		{Contestant: self, Cold: start{Took: 2 * time.Second}, Single: load{Lags: []time.Duration{20 * time.Millisecond}}, Warm: start{Operations: 3}},
		{Contestant: "kube-proxy-ipvs", Cold: start{Took: 100 * time.Second},
			Steady: idle{Lasted: 2 * time.Minute, CPU: 4 * time.Second, Wakeups: 60}},
	}
	text := table(options{size: size{5, 10}, phases: phases{Traced: 2}}, contestants(), measured)
	for _, want := range []string{
		"## 5 Services × 10 endpoints\n",
		"| | kube-ipvs-proxy | kube-proxy-ipvs | kube-proxy-nftables | floor |\n",
		"| cold start: process start → last object in the kernel | 2s | 1m40s (50) | – | – |\n",
		"| one endpoint change, API write → kernel: median | 40ms | – | – | – |\n",
		"| nothing to do: CPU per minute | – | 2s | – | – |\n",
		"| nothing to do: wake-ups per minute | – | 30 | – | – |\n",
		"Medians of rounds: kube-ipvs-proxy 3, kube-proxy-ipvs 1, kube-proxy-nftables 0, floor 0.",
		" 3 operations in the restart.",
		" In 2 changes by an endpoint added: 0 processes, 1 dumps, 40 system calls,",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestSizes(t *testing.T) {
	got, err := parseSizes("1000x10,5x200")
	if diff := cmp.Diff([]size{{1000, 10}, {5, 200}}, got); diff != "" || err != nil {
		t.Errorf("sizes (-want +got):\n%s%v", diff, err)
	}
	for _, wrong := range []string{"", "10", "10x", "10x10,", "10x10x10", "0x10", "10x3", "10x255", "16385x10", "-1x10"} {
		if sizes, err := parseSizes(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, sizes)
		}
	}
}

func TestEndpointAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	const services, endpoints = mostServices, 20
	for service := range services {
		for endpoint := range endpoints {
			seen[endpointAddr(service, endpoint).String()] = true
		}
	}
	if len(seen) != services*endpoints {
		t.Errorf("%d addresses for %d endpoints", len(seen), services*endpoints)
	}
}
