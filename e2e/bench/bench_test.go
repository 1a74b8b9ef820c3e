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

func TestTableShowsMediansAndWhatShouldBeZero(t *testing.T) {
	rounds := []measurement{
		{Cold: start{Took: 3 * time.Second}, Changes: []time.Duration{40 * time.Millisecond}, Added: trace{Calls: 40}},
		{Cold: start{Took: 1 * time.Second}, Changes: []time.Duration{90 * time.Millisecond}, Added: trace{Calls: 60, Dumps: 1}},
		{Cold: start{Took: 2 * time.Second}, Changes: []time.Duration{20 * time.Millisecond}, Added: trace{Calls: 20},
			Warm: start{Operations: 3}},
	}
	lines := strings.Split(table(options{Services: 5, Endpoints: 2, Traced: 2}, rounds), "\n")
	for _, want := range []string{
		"5 Services with 2 endpoints each, medians of 3 rounds",
		"cold start until all is in the kernel     2s (3s, 1s, 2s)",
		"operations of the warm start              3",
		"endpoint change, API write to kernel      median 40ms, p99 90ms, max 90ms",
		"an endpoint added, system calls           20.0, of these 0.0 netlink sends, 0.0 reads of one virtual server",
		"an endpoint added, processes and dumps    0 and 1 in 2 changes",
	} {
		found := false
		for _, line := range lines {
			found = found || strings.TrimSpace(line) == want
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestEndpointAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	const services, endpoints = 10000, 50
	for service := range services {
		for endpoint := range endpoints {
			seen[endpointAddr(service, endpoint).String()] = true
		}
		seen[addedAddr(service).String()] = true
	}
	if len(seen) != services*(endpoints+1) {
		t.Errorf("%d addresses for %d endpoints", len(seen), services*(endpoints+1))
	}
}
