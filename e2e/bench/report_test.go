package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kube-ipvs-proxy/e2e/bench/chart"
)

// rounds makes records of a contestant at a size, one for each measurement.
func rounds(s size, name string, all ...measurement) []record {
	var out []record
	for i := range all {
		out = append(out, record{size: s, Contestant: name, Round: i + 1, Result: &all[i]})
	}
	return out
}

func join(lists ...[]record) (all results) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// expect reports which of the texts are not in the text.
func expect(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestSizeTableShowsMediansRatiosAndRounds(t *testing.T) {
	s := size{5, 10}
	all := join(
		rounds(s, self,
			measurement{Cold: start{Took: 3 * time.Second}, Single: load{Changes: 1, Lags: []time.Duration{40 * time.Millisecond}}},
			measurement{Cold: start{Took: 1 * time.Second}, Single: load{Changes: 4, Lags: []time.Duration{90 * time.Millisecond}, Heap: heap{Objects: 400}}},
			measurement{Cold: start{Took: 2 * time.Second}, Traced: traced{Changes: 5, Restart: trace{Calls: 9}, Added: trace{Messages: 12}, Removed: trace{Messages: 13}}}),
		rounds(s, kubeIPVS, measurement{Cold: start{Took: 100 * time.Second}, Steady: idle{Lasted: 2 * time.Minute, CPU: 4 * time.Second, Wakeups: 60}}),
		rounds(size{6, 10}, kubeNFT, measurement{Cold: start{Took: time.Second}}),
	)
	expect(t, all.sizeTable(s),
		"## 5 Services × 10 endpoints\n",
		"| | kube-ipvs-proxy | kube-proxy-ipvs |\n| --- | --- | --- |\n",
		"| cold start: process start → last object in the kernel | 2s (3) | 1m40s ×50 (1) |\n",
		"| one endpoint change, API write → kernel: median | 40ms (2) | – |\n",
		"| one endpoint change: heap objects | 0 (2) | – |\n", // the lower of 0 and 100
		"| one endpoint change: netlink messages | 2.5 (1) | – |\n",
		"| messages of the restart that write, or try to | 0 (1) | – |\n",
		"| nothing to do: CPU per minute | – | 2s (1) |\n",
		"| nothing to do: wake-ups per minute | – | 30 (1) |\n")
	expect(t, all.sizeTable(size{10000, 10}), "kube-proxy-ipvs is left out")
	if strings.Contains(all.sizeTable(s), "burst") || strings.Contains(all.sizeTable(s), "left out") {
		t.Error("a line that nobody has a figure for, or somebody left out who takes minutes")
	}
}

func TestGrowthAndMemory(t *testing.T) {
	at := func(median time.Duration, kib int) measurement {
		return measurement{Single: load{Changes: 1, Lags: []time.Duration{median}, CPU: median / 10}, Memory: memory{Settled: kib}}
	}
	all := join(
		rounds(size{100, 10}, self, at(10*time.Millisecond, 40000)),
		rounds(size{10000, 10}, self, at(11*time.Millisecond, 139000)),
		rounds(size{100, 100}, self, at(50*time.Millisecond, 49000)),
		rounds(size{100, 10}, kubeNFT, at(time.Second, 1)))
	expect(t, all.growthTable(),
		"(10 endpoints each)", "| | 100 | 10000 | last measured : first |\n",
		"| kube-ipvs-proxy: time, median | 10ms (1) | 11ms (1) | 1.1 |\n",
		"| kube-ipvs-proxy: CPU | 1ms (1) | 1.1ms (1) | 1.1 |\n",
		"| kube-proxy-nftables: time, median | 1s (1) | – | 1 |\n")
	expect(t, all.memoryTable(),
		"| kube-ipvs-proxy | an endpoint | 1.00 | 100x10 and 100x100 |\n",
		"| kube-ipvs-proxy | a Service with its endpoints | 10.0 | 100x10 and 10000x10 |\n")
}

// path makes a record of the data path from the medians of runs, in milliseconds.
func path(services, round int, medians map[string][]float64) record {
	d := &dataPath{}
	for name, runs := range medians {
		for i, median := range runs {
			for _, way := range []kinds{direct, throughVIP} {
				d.Flows = append(d.Flows, flow{Contestant: name, Way: way, Run: i + 1, Connects: 9, PerSecond: 1000 / median,
					Median: time.Duration(median * float64(time.Millisecond))})
			}
		}
	}
	return record{size: size{services, 1}, Round: round, Path: d}
}

func TestPathTableComparesRunsNextToEachOther(t *testing.T) {
	// The machine is three times as slow in the second round.
	one := path(10, 1, map[string][]float64{self: {1.1, 1.2, 1}, smallest: {1, 1, 1}})
	two := path(10, 2, map[string][]float64{self: {3.3, 3.3}, smallest: {3, 3}})
	two.Path.LeftOut = map[string]string{kubeIPVS: "not done after 11m0s"}
	two.Path.Flows[0].Failed = 4
	all := results{one, two}
	got := all.against(size{10, 1}, self, smallest, direct, connectMedian)
	if math.Abs(got.median()-1.1) > 1e-9 || len(got) != 5 {
		t.Errorf("ratios %v, want five with a median of 1.1", got)
	}
	expect(t, all.pathTable(size{10, 1}),
		"## Packets, with 10 Services of one endpoint\n",
		"| | kube-ipvs-proxy | kube-proxy-ipvs | kube-proxy-nftables | nothing | smallest | smallest-ipvs |\n",
		"| connect: median | 1.2ms [1ms–3.3ms] ×1.1 [1–1.2] (5) | – | – | – | 1ms [1ms–3ms] (5) | – |\n",
		"| connect: median | 1.2ms [1ms–3.3ms] (5) | – | – | – |\n",
		"Round 2 without kube-proxy-ipvs: not done after 11m0s.\n", "that failed: 4.\n")
}

func TestGoals(t *testing.T) {
	cold := func(seconds int) measurement {
		return measurement{Cold: start{Took: time.Duration(seconds) * time.Second}}
	}
	all := join(
		rounds(size{1000, 10}, self, cold(2)), rounds(size{1000, 10}, kubeIPVS, cold(110)), rounds(size{1000, 10}, kubeNFT, cold(8)),
		rounds(size{10000, 10}, self, measurement{Steady: idle{Lasted: time.Minute, CPU: 300 * time.Millisecond}}),
		[]record{path(1000, 1, map[string][]float64{self: {1.3}, smallest: {1}, kubeIPVS: {2}})})
	text := all.goalTable()
	expect(t, text,
		"| cold start at 1000x10 : kube-proxy's in ipvs mode | 0.02 | 0.0182 | yes |\n",
		"| cold start at 1000x10 : kube-proxy's in nftables mode | 0.2 | 0.25 | **no** |\n",
		"| CPU with nothing to do at 10000x10, % of a processor | 1 | 0.5 | yes |\n",
		"| connect to no Service, with 1000 : the smallest rule set | 1.1 | 1.3 | **no** |\n",
		"| connect through a VIP of 1000 : kube-proxy's in ipvs mode | 0.8 | 0.65 | yes |\n")
	if strings.Contains(text, "5000x10") {
		t.Errorf("a goal that nothing was measured for:\n%s", text)
	}
}

func TestPlotsHaveTheMediansOfEachSize(t *testing.T) {
	at := func(d time.Duration) measurement { return measurement{Cold: start{Took: d}} }
	all := join(
		rounds(size{1000, 10}, self, at(9*time.Second), at(2*time.Second), at(3*time.Second)),
		rounds(size{100, 10}, self, at(time.Second)),
		rounds(size{1000, 100}, self, at(time.Minute)), // not on the axis
		rounds(size{100, 10}, kubeNFT, at(5*time.Second)),
		[]record{path(10, 1, map[string][]float64{nothing: {1, 2, 1}}), path(1000, 1, map[string][]float64{nothing: {4}})})
	all = withoutVIP(all)
	got := map[string][]chart.Line{}
	for _, p := range all.plots() {
		got[p.file] = nil
		for _, line := range p.Lines {
			if len(line.Points) > 0 {
				got[p.file] = append(got[p.file], line)
			}
		}
	}
	idle := chart.Line{Name: nothing, Color: 3, Points: []chart.Point{{X: 10, Y: 1}, {X: 1000, Y: 4}}}
	want := map[string][]chart.Line{
		"cold-start.svg": {
			{Name: self, Points: []chart.Point{{X: 100, Y: 1}, {X: 1000, Y: 3}}},
			{Name: kubeNFT, Color: 2, Points: []chart.Point{{X: 100, Y: 5}}}},
		"connect-direct.svg": {idle},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestReportIsWrittenFromTheStore(t *testing.T) {
	o := output{State: t.TempDir(), Into: t.TempDir()}
	if err := report(o); err == nil {
		t.Error("a report of nothing")
	}
	for _, s := range []size{{100, 10}, {1000, 10}} {
		r := rounds(s, self, measurement{Cold: start{Took: time.Second}, Failed: []string{"burst: too slow"}})[0]
		r.Origin = origin{Machine: "2 × a processor", Kernel: "Linux 6.12", Programs: map[string]string{self: "abc"}}
		if err := (store{o.State}).write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := report(o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(o.Into, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, string(text), "- Machine: 2 × a processor\n", "- Kernel measured on: Linux 6.12\n", "- Program kube-ipvs-proxy: abc\n",
		"## 100 Services × 10 endpoints\n", "## 1000 Services × 10 endpoints\n",
		"- 100x10-kube-ipvs-proxy-1: burst: too slow\n", "![cold-start](cold-start.svg)\n")
	drawn, err := os.ReadFile(filepath.Join(o.Into, "cold-start.svg"))
	if err != nil || !strings.Contains(string(drawn), "<svg") || !strings.Contains(string(drawn), ">1000<") {
		t.Errorf("the plot, %v: %.300s", err, drawn)
	}
}

// withoutVIP leaves the runs to no Service.
func withoutVIP(all results) results {
	for _, r := range all {
		if r.Path != nil {
			r.Path.Flows = slices.DeleteFunc(r.Path.Flows, func(f flow) bool { return f.Way == throughVIP })
		}
	}
	return all
}
