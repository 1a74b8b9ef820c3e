package main

import (
	"strings"
	"testing"

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
	if diff := cmp.Diff(trace{Calls: 9, Processes: 2, Sends: 4, Messages: 4, Writes: 1, Dumps: 2, Reads: 1,
		Written: map[string]int{"IPVS 05": 1}}, got); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

// The lines are what strace 6.1 printed of ip, ipset, ipvsadm, conntrack and nft.
func TestNetlinkMessagesThatChangeSomething(t *testing.T) {
	for _, test := range []struct {
		arguments string
		want      []message
		writes    int
	}{
		{`3<NETLINK:[NETFILTER:141]>, [{nlmsg_len=76, nlmsg_type=NFNL_SUBSYS_IPSET<<8|IPSET_CMD_ADD, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x200, nlmsg_seq=1, nlmsg_pid=0}, {nfgen_family=AF_INET, version=NFNETLINK_V0, res_id=htons(0)}, [[{nla_len=5, nla_type=0x1}, "\x07"]]], 76, 0`,
			[]message{{kind: "NFNL_SUBSYS_IPSET<<8|IPSET_CMD_ADD"}}, 1},
		{`3<NETLINK:[NETFILTER:142]>, [{nlmsg_len=36, nlmsg_type=NFNL_SUBSYS_IPSET<<8|IPSET_CMD_LIST, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x300, nlmsg_seq=1, nlmsg_pid=0}, {nfgen_family=AF_INET, version=NFNETLINK_V0, res_id=htons(0)}, [`,
			[]message{{kind: "NFNL_SUBSYS_IPSET<<8|IPSET_CMD_LIST", dump: true}}, 0},
		{`3<NETLINK:[ROUTE:144]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=40, nlmsg_type=RTM_NEWADDR, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE, nlmsg_seq=1, nlmsg_pid=0}, {ifa_family=AF_INET,`,
			[]message{{kind: "RTM_NEWADDR"}}, 1},
		{`3<NETLINK:[ROUTE:145]>, [[{nlmsg_len=24, nlmsg_type=RTM_GETADDR, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP, nlmsg_seq=1, nlmsg_pid=0}, {ifa_family=AF_UNSPEC}], {nlmsg_len=0, nlmsg_type=0 /* NLMSG_??? */, nlmsg_flags=0, nlmsg_seq=0, nlmsg_pid=0}]`,
			[]message{{kind: "RTM_GETADDR", dump: true}}, 0}, // the second is what strace makes of the space behind the first
		{`3<NETLINK:[GENERIC:394264724]>, {msg_name={sa_family=AF_NETLINK}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=200, nlmsg_type=IPVS, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq=1, nlmsg_pid=394264724}, "\x05\x01\x00\x00\x54\x00\x01\x80`,
			[]message{{kind: "IPVS", command: "05"}}, 1},
		{`3<NETLINK:[GENERIC:394264725]>, {msg_name={sa_family=AF_NETLINK}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=20, nlmsg_type=IPVS, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq=1, nlmsg_pid=-457178990}, "\x0f\x01\x00\x00"], iov_len=20}]`,
			[]message{{kind: "IPVS", command: "0f"}}, 0},
		{`3<NETLINK:[NETFILTER:152]>, {msg_iov=[{iov_base=[[{nlmsg_len=20, nlmsg_type=NFNL_MSG_BATCH_BEGIN, nlmsg_flags=NLM_F_REQUEST, nlmsg_seq=0, nlmsg_pid=0}, {nfgen_family=AF_UNSPEC}], [{nlmsg_len=36, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_NEWTABLE, nlmsg_flags=NLM_F_REQUEST, nlmsg_seq=1, nlmsg_pid=0}, {nfgen_family=AF_INET}]`,
			[]message{{kind: "NFNL_MSG_BATCH_BEGIN"}, {kind: "NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_NEWTABLE"}}, 1},
		{`3<NETLINK:[NETFILTER:153]>, [{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETSET, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP, nlmsg_seq=0, nlmsg_pid=0}, {nfgen_family=AF_UNSPEC}]`,
			[]message{{kind: "NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETSET", dump: true}}, 0},
		{`3<NETLINK:[NETFILTER:151]>, [{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_CTNETLINK<<8|IPCTNL_MSG_CT_DELETE, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq=0, nlmsg_pid=0}, {nfgen_family=AF_INET}]`,
			[]message{{kind: "NFNL_SUBSYS_CTNETLINK<<8|IPCTNL_MSG_CT_DELETE"}}, 1},
	} {
		got := netlinkMessages(test.arguments)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(message{})); diff != "" {
			t.Errorf("messages of %s (-want +got):\n%s", test.arguments, diff)
		}
		writes := 0
		for _, m := range got {
			if m.write() {
				writes++
			}
		}
		if writes != test.writes {
			t.Errorf("%d messages change something, want %d: %s", writes, test.writes, test.arguments)
		}
	}
}
