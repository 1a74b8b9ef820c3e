package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// adopted returns what a daemon does that runs with one file and finds another.
func adopted(t *testing.T, before, after string, args ...string) (Config, Config, Changes) {
	t.Helper()
	first := mustLoad(t, append(args, "--config="+written(t, before+"\n"))...)
	second := mustLoad(t, append(args, "--config="+written(t, after+"\n"))...)
	got, changes, err := first.Adopt(second)
	if err != nil {
		t.Fatal(err)
	}
	return got, second, changes
}

// Each field that can be changed while running arrives, alone, in the typed configuration and in the file that is shown.
func TestAdoptTakesOver(t *testing.T) {
	for field, file := range map[string]string{
		"ipvs.scheduler": "ipvs: {scheduler: lc}", "ipvs.excludeCIDRs": "ipvs: {excludeCIDRs: [10.0.0.0/8]}",
		"ipvs.syncPeriod": "ipvs: {syncPeriod: 10s}", "ipvs.minSyncPeriod": "ipvs: {minSyncPeriod: 2s}",
		"iptables.masqueradeAll": "iptables: {masqueradeAll: true}", "nodePortAddresses": "nodePortAddresses: [primary]",
		"logging.verbosity": "logging: {verbosity: 4}", "logging.vmodule": "logging: {vmodule: [{filePattern: a, verbosity: 2}]}",
	} {
		for _, way := range [][2]string{{"", file}, {file, ""}} {
			got, want, changes := adopted(t, way[0], way[1])
			if diff := cmp.Diff(Changes{Live: []string{field}}, changes); diff != "" {
				t.Errorf("%s (-want +got)\n%s", field, diff)
			}
			want.Run.ConfigFile = got.Run.ConfigFile
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ngot  %+v\nwant %+v", field, got, want)
			}
		}
	}
}

// What needs a new process is left as it is and named; what has no effect is not worth a word.
func TestAdoptNamesWhatNeedsARestart(t *testing.T) {
	before := "ipvs: {scheduler: rr}\nclusterCIDR: 10.244.0.0/16\n"
	after := `ipvs: {scheduler: sh, strictARP: true, udpTimeout: 30s}
clusterCIDR: 10.0.0.0/8
conntrack: {min: 1, maxPerCore: 0}
oomScoreAdj: -1
enableProfiling: true
metricsBindAddress: 0.0.0.0
iptables: {syncPeriod: 1s, masqueradeBit: 3}
featureGates: {A: true}
portRange: 1-2
configSyncPeriod: 1m
windowsRunAsService: true`
	got, _, changes := adopted(t, before, after)
	want := Changes{Live: []string{"ipvs.scheduler"}, Restart: []string{"clusterCIDR", "conntrack.maxPerCore", "conntrack.min", "enableProfiling",
		"iptables.masqueradeBit", "ipvs.strictARP", "ipvs.udpTimeout", "metricsBindAddress", "oomScoreAdj"}}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	plain := mustLoad(t, "--config="+written(t, before))
	if got.IPVS.Scheduler != "sh" || got.IPVS.StrictARP || !reflect.DeepEqual(got.Masquerade, plain.Masquerade) || got.Conntrack != plain.Conntrack ||
		got.Serve != plain.Serve || got.File.ClusterCIDR != "10.244.0.0/16" {
		t.Errorf("%+v", got)
	}
	// What a new process would take over is still to be taken over, until the file says otherwise.
	again, changes, err := got.Adopt(got)
	if err != nil || len(changes.Live)+len(changes.Restart) > 0 || !reflect.DeepEqual(again, got) {
		t.Errorf("%+v, %v", changes, err)
	}
}

// A flag that wins over the file does so when the file changes, too.
func TestAdoptHeedsTheFlags(t *testing.T) {
	got, _, changes := adopted(t, "logging: {verbosity: 1}\nhostnameOverride: a", "logging: {verbosity: 3}\nhostnameOverride: b", "-v=2", "--hostname-override=c")
	if len(changes.Live)+len(changes.Restart) > 0 || got.Logging.Verbosity != 2 || got.Node.Name != "c" {
		t.Errorf("%+v, %+v", changes, got.Logging)
	}
}

// Every field of the file is either taken over, named or known to have no effect: no change goes unnoticed.
func TestAdoptNoticesEveryField(t *testing.T) {
	all, err := os.ReadFile("testdata/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(all), "kind: KubeProxyConfiguration\n")
	_, next, changes := adopted(t, "", body)
	plain := mustLoad(t)
	paths, err := differences(&plain.File, &next.File)
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d fields differ, %v", len(paths), err)
	}
	for _, path := range paths {
		count := 0
		for _, list := range [][]string{changes.Live, changes.Restart} {
			for _, named := range list {
				if named == path {
					count++
				}
			}
		}
		if withoutEffect(path) {
			count++
		}
		if count != 1 {
			t.Errorf("%s is in %d lists", path, count)
		}
	}
}

func TestReloadNeedsAFile(t *testing.T) {
	if c := mustLoad(t, "--reload-config"); len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "--config") {
		t.Errorf("warnings %q", c.Warnings)
	}
	if c := mustLoad(t, "--reload-config", "--config="+written(t, "")); len(c.Warnings) != 0 || !c.Run.Reload {
		t.Errorf("warnings %q, run %+v", c.Warnings, c.Run)
	}
}
