package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/metrics"
)

const fileHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

// followed is a reloader of a file, in a bubble of fake time.
type followed struct {
	*testing.T
	reloader *reloader
	path     string
	registry *prometheus.Registry
	logs     *observer.ObservedLogs

	mu      sync.Mutex
	applied []string // schedulers
	events  []string
	refused error // by the kernel
}

// follow runs a reloader of a file until the test ends.
func follow(t *testing.T, path string) *followed {
	t.Helper()
	flags, set := config.NewFlags(), pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.AddTo(set)
	if err := set.Parse([]string{"--config=" + path, "--reload-config"}); err != nil {
		t.Fatal(err)
	}
	load := func() (config.Config, error) { return flags.Load(config.Host{Hostname: "node-1"}) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	f := &followed{T: t, path: path, registry: prometheus.NewRegistry(), logs: logs}
	f.reloader = &reloader{clock: clock.RealClock{}, log: zap.New(core), load: load, apply: f.apply, current: cfg,
		counts: metrics.NewReload(f.registry, time.Now()),
		tell:   f.tell}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.reloader.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func (f *followed) apply(_ context.Context, _, after config.Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil {
		f.applied = append(f.applied, after.IPVS.Scheduler)
	}
	return f.refused
}

func (f *followed) tell(_ context.Context, reason, note string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, reason+" "+note)
}

// refuse has the kernel refuse what is applied, or not.
func (f *followed) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = err
}

// event returns an Event that was made.
func (f *followed) event(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events[i]
}

// write replaces what the file holds, in place.
func (f *followed) write(body string) { writeConfig(f.T, f.path, body) }

func writeConfig(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(fileHead+body+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// settle lets time pass, enough for a change to be seen unless less is asked for.
func (f *followed) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const enough = 3 * reloadPeriod

// expect checks what has become of the file so far.
func (f *followed) expect(when string, applied []string, events int, successful, awaiting float64) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if diff := cmp.Diff(applied, f.applied); diff != "" {
		f.Errorf("%s: applied (-want +got)\n%s", when, diff)
	}
	if len(f.events) != events {
		f.Errorf("%s: events %q, want %d", when, f.events, events)
	}
	families, err := f.registry.Gather()
	if err != nil {
		f.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		got[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
	}
	if s, a := got["kube_ipvs_proxy_config_last_reload_successful"], got["kube_ipvs_proxy_config_fields_awaiting_restart"]; s != successful || a != awaiting {
		f.Errorf("%s: successful %v, awaiting a restart %v; want %v, %v", when, s, a, successful, awaiting)
	}
}

// A change is seen however it is made: in place, by a rename, and by the swap of a symbolic link, as in a ConfigMap's volume.
func TestReloadSeesEveryWayOfChanging(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string, scheduler string){
		"in place": func(t *testing.T, dir, scheduler string) {
			writeConfig(t, filepath.Join(dir, "..data", "config.conf"), "ipvs: {scheduler: "+scheduler+"}")
		},
		"rename": func(t *testing.T, dir, scheduler string) {
			writeConfig(t, filepath.Join(dir, "new"), "ipvs: {scheduler: "+scheduler+"}")
			if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "config.conf")); err != nil {
				t.Fatal(err)
			}
		},
		"ConfigMap": func(t *testing.T, dir, scheduler string) {
			mount(t, dir, "..2026_"+scheduler, "ipvs: {scheduler: "+scheduler+"}")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				mount(t, dir, "..2025", "ipvs: {scheduler: rr}")
				if err := os.Symlink(filepath.Join("..data", "config.conf"), filepath.Join(dir, "config.conf")); err != nil {
					t.Fatal(err)
				}
				f := follow(t, filepath.Join(dir, "config.conf"))
				f.settle(enough)
				f.expect("unchanged", nil, 0, 1, 0)
				change(t, dir, "lc")
				f.settle(enough)
				change(t, dir, "sh")
				f.settle(enough)
				f.expect("changed twice", []string{"lc", "sh"}, 0, 1, 0)
				if got := f.reloader.config().File.IPVS.Scheduler; got != "sh" {
					t.Errorf("the configuration in effect says %s", got)
				}
			})
		})
	}
}

// mount makes what the kubelet makes of a ConfigMap: a directory with the files, and a link that is replaced at once.
func mount(t *testing.T, dir, version, body string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	writeConfig(t, filepath.Join(dir, version, "config.conf"), body)
	if err := errors.Join(os.Symlink(version, filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
}

// started is a followed file that says nothing but its kind.
func started(t *testing.T) *followed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	writeConfig(t, path, "")
	f := follow(t, path)
	f.settle(enough)
	return f
}

// What is still being written is not taken for what it says.
func TestReloadWaitsForTheEndOfAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := started(t)
		for range 5 { // a file that changes all the time
			f.write("ipvs: {sched")
			f.settle(reloadPeriod / 2)
			f.write("ipvs: {scheduler: lc")
			f.settle(reloadPeriod / 2)
			f.write("ipvs: {scheduler: lc}")
			f.settle(reloadPeriod)
		}
		f.settle(enough)
		f.expect("written", []string{"lc"}, 0, 1, 0)
		if f.logs.FilterLevelExact(zap.ErrorLevel).Len() > 0 {
			t.Errorf("errors: %v", f.logs.All())
		}
	})
}

// A file that cannot be used changes nothing and is told once, with the field and the value; one that can be used again ends it.
func TestReloadKeepsTheLastGoodFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := started(t)
		f.write("ipvs: {scheduler: lc}")
		f.settle(enough)
		f.write("ipvs: {scheduler: \"l c\"}\nmode: nftables")
		f.settle(time.Minute)
		f.expect("invalid", []string{"lc"}, 1, 0, 0)
		failures := f.logs.FilterLevelExact(zap.ErrorLevel).All()
		if len(failures) != 1 {
			t.Fatalf("%d errors logged", len(failures))
		}
		for _, text := range []string{fmt.Sprint(failures[0].ContextMap()), f.event(0)} {
			for _, part := range []string{`ipvs.scheduler: "l c"`, `mode: "nftables"`} {
				if !strings.Contains(text, part) {
					t.Errorf("%s is missing in %s", part, text)
				}
			}
		}
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		f.settle(time.Minute)
		f.expect("removed", []string{"lc"}, 2, 0, 0)
		f.write("ipvs: {scheduler: lc}")
		f.settle(enough)
		f.expect("as before", []string{"lc"}, 2, 1, 0)
		f.write("ipvs: {scheduler: sh}")
		f.settle(enough)
		f.expect("valid", []string{"lc", "sh"}, 2, 1, 0)
	})
}

// What needs a new process is told once, by the log and an Event that name the fields, until it changes.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := started(t)
		f.write("clusterCIDR: 10.0.0.0/8\nipvs: {scheduler: lc, strictARP: true}")
		f.settle(enough)
		f.expect("both", []string{"lc"}, 1, 1, 2)
		if !strings.HasPrefix(f.event(0), "RestartNeeded clusterCIDR, ipvs.strictARP: ") || !strings.Contains(f.event(0), "recreate the pod") {
			t.Errorf("event %s", f.event(0))
		}
		f.write("clusterCIDR: 10.0.0.0/8\nipvs: {scheduler: sh, strictARP: true}")
		f.settle(enough)
		f.expect("another live one", []string{"lc", "sh"}, 1, 1, 2)
		f.write("clusterCIDR: 10.0.0.0/8\nipvs: {scheduler: sh}\noomScoreAdj: 7")
		f.settle(enough)
		f.expect("others", []string{"lc", "sh"}, 2, 1, 2)
		f.write("ipvs: {scheduler: sh}")
		f.settle(enough)
		f.expect("taken back", []string{"lc", "sh"}, 2, 1, 0)
	})
}

// What the kernel refuses, such as a scheduler whose module is missing, is told once and tried again until it goes.
func TestReloadTriesAgainWhatTheKernelRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := started(t)
		f.refuse(errors.New("no such scheduler"))
		f.write("ipvs: {scheduler: mh}")
		f.settle(time.Minute)
		f.expect("refused", nil, 1, 0, 0)
		if got := f.reloader.config().IPVS.Scheduler; got != "rr" {
			t.Errorf("the configuration in effect says %s", got)
		}
		f.refuse(nil)
		f.settle(enough)
		f.expect("loaded", []string{"mh"}, 1, 1, 0)
	})
}
