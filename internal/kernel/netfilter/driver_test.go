package netfilter

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
)

// small is a rule set whose complete text fits into a test.
func small() []dataplane.Ruleset {
	return []dataplane.Ruleset{{
		Family: dataplane.IPv4,
		Chains: []dataplane.Chain{{Table: dataplane.Filter, Name: "KUBE-A", Rules: []dataplane.Rule{{Action: dataplane.Return{}}}},
			{Table: dataplane.Filter, Name: "KUBE-B"}, {Table: dataplane.Filter, Name: "KUBE-C"}},
		Jumps: []dataplane.Jump{{Table: dataplane.Filter, From: "INPUT", To: "KUBE-A", Comment: "a b"},
			{Table: dataplane.Filter, From: "INPUT", To: "KUBE-B"}, {Table: dataplane.Filter, From: "INPUT", To: "KUBE-C"}},
	}}
}

const smallSaved = `*filter
:INPUT ACCEPT [0:0]
:KUBE-A - [0:0]
:KUBE-B - [0:0]
:KUBE-C - [0:0]
-A INPUT -j KUBE-C
-A INPUT -s 192.0.2.1/32 -j KUBE-A
-A INPUT -j KUBE-B
-A INPUT -m comment --comment "a b" -j KUBE-A
-A INPUT -j DROP
-A KUBE-A -j RETURN
COMMIT
`

func openFake(t *testing.T, save string) (*Driver, *fakeRunner) {
	t.Helper()
	runner := &fakeRunner{TB: t, saves: map[string]string{"iptables-save": save}, failures: map[string]error{}}
	d, err := Open(t.Context(), Options{Runner: runner, ProcSys: procSys(t, "0")})
	if err != nil {
		t.Fatal(err)
	}
	return d, runner
}

func TestSteadyStateExecutesOneSave(t *testing.T) {
	d, runner := openFake(t, smallSaved)
	repaired, err := d.Ensure(t.Context(), small())
	if err != nil || len(repaired) > 0 || !slices.Equal(runner.ran, []string{"iptables-save"}) || d.Executions() != 1 {
		t.Errorf("repaired %q, %v with executions %q (counted %d)", repaired, err, runner.ran, d.Executions())
	}
}

func TestJumpsAreBroughtIntoOrder(t *testing.T) {
	for _, tt := range []struct {
		name, from, to, text string
		repaired             []string
	}{
		{"first missing", "-A INPUT -m comment --comment \"a b\" -j KUBE-A\n", "",
			"-D INPUT -j KUBE-B\n-D INPUT -j KUBE-C\n-I INPUT -m comment --comment \"a b\" -j KUBE-A\n-I INPUT -j KUBE-B\n-I INPUT -j KUBE-C\n",
			[]string{"jump INPUT to KUBE-A was missing"}},
		{"last missing", "-A INPUT -j KUBE-C\n", "", "-I INPUT -j KUBE-C\n", []string{"jump INPUT to KUBE-C was missing"}},
		{"doubled with our comment", "-A INPUT -j KUBE-C\n", "-A INPUT -j KUBE-C\n-A INPUT -j KUBE-C\n",
			"-D INPUT -j KUBE-C\n-D INPUT -j KUBE-C\n-I INPUT -j KUBE-C\n", []string{"jump INPUT to KUBE-C was there more than once"}},
		{"doubled with another comment", "-A INPUT -j KUBE-C\n", "-A INPUT -j KUBE-C\n-A INPUT -m comment --comment x -j KUBE-C\n", "", nil},
		{"other comment, then ours", "-A INPUT -j KUBE-C\n", "-A INPUT -m comment --comment \"x \\\" -j\" -j KUBE-C\n", "", nil},
		{"last in front of nothing", "-A INPUT -j DROP\n", "-A INPUT -j DROP\n-A INPUT -j DROP\n", "", nil},
		{"order reversed", "-A INPUT -j KUBE-C\n-A INPUT -s 192.0.2.1/32 -j KUBE-A\n-A INPUT -j KUBE-B\n", "-A INPUT -j KUBE-B\n-A INPUT -j KUBE-C\n",
			"-D INPUT -j KUBE-C\n-I INPUT -j KUBE-C\n", []string{"jump INPUT to KUBE-C was out of order"}},
	} {
		save := strings.Replace(smallSaved, tt.from, tt.to, 1)
		d, runner := openFake(t, save)
		repaired, err := d.Ensure(t.Context(), small())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var inputs, lines []string
		if tt.text != "" {
			inputs = []string{"*filter\n" + tt.text + "COMMIT\n"}
		}
		for _, line := range tt.repaired {
			lines = append(lines, "IPv4 table filter: "+line)
		}
		if diff := cmp.Diff(inputs, runner.inputs) + cmp.Diff(lines, repaired); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFailedReadChangesNothing(t *testing.T) {
	for _, tt := range []struct {
		name, save string
		fails      error
		kind       error
		says       string
	}{
		{"cut off", smallSaved[:len(smallSaved)-8], nil, dataplane.ErrInvalid, "ended inside table filter"},
		{"strange line", "*filter\n-B INPUT\nCOMMIT\n", nil, dataplane.ErrInvalid, `line 2 of iptables-save is not understood: "-B INPUT"`},
		{"rule outside a table", "-A INPUT -j ACCEPT\n", nil, dataplane.ErrInvalid, "line 1"},
		{"left out", "# Table `filter' is incompatible, use 'nft' tool.\n", nil, dataplane.ErrConflict, "nft(8)"},
		{"no rights", "", &ExitError{Code: 4, Stderr: "Could not fetch rule set generation id: Permission denied (you must be root)"},
			dataplane.ErrPermission, "CAP_NET_ADMIN"},
		{"no module", "", &ExitError{Code: 3, Stderr: "can't initialize iptables table `nat': Table does not exist (do you need to insmod?)"},
			dataplane.ErrUnavailable, "kernel module"},
		{"too slow", "", context.DeadlineExceeded, context.DeadlineExceeded, "iptables-save"},
		{"program gone", "", fs.ErrNotExist, dataplane.ErrUnavailable, "iptables-save"},
		{"program not executable", "", fs.ErrPermission, dataplane.ErrPermission, "iptables-save"},
	} {
		d, runner := openFake(t, tt.save)
		runner.failures["iptables-save"] = tt.fails
		repaired, err := d.Ensure(t.Context(), small())
		requireError(t, err, tt.kind, tt.says)
		if len(repaired) > 0 || len(runner.inputs) > 0 {
			t.Errorf("%s: repaired %q by %q, want nothing touched", tt.name, repaired, runner.inputs)
		}
	}
}

func TestRestoreFailuresAreTyped(t *testing.T) {
	for stderr, kind := range map[string]error{
		"Another app is currently holding the xtables lock. Stopped waiting after 5s.":                         dataplane.ErrConflict,
		"Fatal: can't open lock file /run/xtables.lock: Permission denied":                                     dataplane.ErrPermission,
		"iptables-restore v1.8.9 (nf_tables): Can't open socket to ipset.":                                     dataplane.ErrPermission,
		"iptables-restore v1.8.9 (legacy): Couldn't load match `frob':No such file or directory":               dataplane.ErrUnavailable,
		"Warning: Extension SET revision 0 not supported, missing kernel module?\nline 4: RULE_APPEND failed":  dataplane.ErrUnavailable,
		"line 2 failed: Bad rule (does a matching rule exist in that chain?).":                                 dataplane.ErrConflict,
		"iptables-nft-restore v1.8.9 (nf_tables): Chain 'NOTHERE' does not exist\nError occurred at line: 2":   dataplane.ErrNotExist,
		"iptables-nft-restore v1.8.9 (nf_tables): \nline 99: RULE_APPEND failed (Something new): rule in KUBE": dataplane.ErrInvalid,
	} {
		d, runner := openFake(t, "")
		runner.failures["iptables-restore"] = &ExitError{Code: 4, Stderr: stderr}
		repaired, err := d.Ensure(t.Context(), small())
		requireError(t, err, kind, "iptables-restore -w 5 --noflush", strings.TrimSpace(stderr))
		if len(repaired) > 0 {
			t.Errorf("%s: reports %q as repaired", stderr, repaired)
		}
	}
}

// A warning that comes with every rule is told once.
func TestExitErrorSaysEachLineOnce(t *testing.T) {
	err := &ExitError{Code: 4, Stderr: "Warning: missing kernel module?\nWarning: missing kernel module?\n\nline 4: RULE_APPEND failed\nWarning: missing kernel module?\n"}
	if want := "exit code 4: Warning: missing kernel module?\n\nline 4: RULE_APPEND failed"; err.Error() != want {
		t.Errorf("got %q, want %q", err.Error(), want)
	}
}

func TestLegacyRefusalOfADeletionIsARace(t *testing.T) {
	d, runner := openFake(t, strings.Replace(smallSaved, "-A INPUT -j KUBE-B\n", "", 1))
	runner.failures["iptables-restore"] = &ExitError{Code: 1, Stderr: "iptables-restore: line 2 failed"}
	_, err := d.Ensure(t.Context(), small())
	requireError(t, err, dataplane.ErrConflict, `refused line: "-D INPUT -j KUBE-C"`)
}

func TestRetargetRefusesANameThatIsNone(t *testing.T) {
	d, runner := openFake(t, smallSaved)
	_, err := d.Retarget(t.Context(), small(), "A", "B -j ACCEPT")
	requireError(t, err, dataplane.ErrInvalid)
	if len(runner.ran) > 0 {
		t.Errorf("executed %q", runner.ran)
	}
}

func TestHostRunsWithoutShellAndEndsInTime(t *testing.T) {
	cat, err := Host{}.Find("cat")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := (Host{}).Start(t.Context(), Command{Path: cat, Stdin: "$HOME"})(); out != "$HOME" || err != nil {
		t.Errorf("cat = %q, %v", out, err)
	}
	if out, err := (Host{}).Start(t.Context(), Command{Path: cat})(); out != "" || err != nil {
		t.Errorf("cat without input = %q, %v; want an immediate end", out, err)
	}
	exit := (*ExitError)(nil)
	if _, err := (Host{}).Start(t.Context(), Command{Path: cat, Args: []string{"/nowhere"}})(); !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "/nowhere") {
		t.Errorf("cat /nowhere = %v, want its exit code and message", err)
	}
	sleep, err := Host{}.Find("sleep")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Host{}).Start(ctx, Command{Path: sleep, Args: []string{"60"}})(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sleep 60 = %v, want it stopped", err)
	}
	if _, err := (Host{}).Find("no-such-program"); err == nil {
		t.Error("found no-such-program")
	}
}

func TestOrderOfStatesIsNoDrift(t *testing.T) {
	d, runner := openFake(t, "*filter\n:KUBE-A - [0:0]\n-A KUBE-A -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\nCOMMIT\n")
	repaired, err := d.Ensure(t.Context(), []dataplane.Ruleset{{Family: dataplane.IPv4, Chains: []dataplane.Chain{
		{Table: dataplane.Filter, Name: "KUBE-A", Rules: []dataplane.Rule{
			{Matches: []dataplane.Match{dataplane.MatchState{States: "RELATED,ESTABLISHED"}}, Action: dataplane.Accept{}}}}}}})
	if err != nil || len(repaired) > 0 || len(runner.inputs) > 0 {
		t.Errorf("repaired %q, %v by %q", repaired, err, runner.inputs)
	}
}

// twoTables is a rule set that lacks everything in two tables of an empty host.
func twoTables() []dataplane.Ruleset {
	return []dataplane.Ruleset{{Family: dataplane.IPv4, Chains: []dataplane.Chain{
		{Table: dataplane.NAT, Name: "KUBE-A"}, {Table: dataplane.Filter, Name: "KUBE-B"}}}}
}

const (
	natInput    = "*nat\n:KUBE-A - [0:0]\nCOMMIT\n"
	filterInput = "*filter\n:KUBE-B - [0:0]\nCOMMIT\n"
)

func TestTablesAreWrittenTogether(t *testing.T) {
	d, runner := openFake(t, "")
	repaired, err := d.Ensure(t.Context(), twoTables())
	if err != nil || len(repaired) != 2 {
		t.Errorf("repaired %q, %v; want both chains", repaired, err)
	}
	if diff := cmp.Diff([]string{natInput + filterInput}, runner.inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}

func TestTablesAreWrittenOneByOneAfterAFailure(t *testing.T) {
	d, runner := openFake(t, "")
	runner.refuses = "*filter"
	runner.commits = map[string]string{"*nat": ":KUBE-A - [0:0]\n"}
	repaired, err := d.Ensure(t.Context(), twoTables())
	requireError(t, err, dataplane.ErrInvalid, "IPv4 table filter")
	if diff := cmp.Diff([]string{"IPv4 table nat: chain KUBE-A was missing"}, repaired); diff != "" {
		t.Errorf("repaired (-want +got):\n%s", diff)
	}
	// What the failed program had committed is not written again.
	if diff := cmp.Diff([]string{natInput + filterInput, filterInput}, runner.inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}
