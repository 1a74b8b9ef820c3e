package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/service"
)

func TestSampleStrictARP(t *testing.T) {
	c := mustLoad(t, "--config=testdata/strict-arp.yaml")
	want := IPVS{Scheduler: "rr", Exclude: prefixes("10.244.0.0/16"), StrictARP: true, SyncPeriod: 30 * time.Second, DrainTimeout: 15 * time.Minute}
	if !reflect.DeepEqual(c.IPVS, want) {
		t.Errorf("got  %+v\nwant %+v", c.IPVS, want)
	}
	if c.Masquerade.All || c.Masquerade.Mark != 0x4000 || len(c.Warnings) != 0 {
		t.Errorf("masquerade %+v, warnings %q", c.Masquerade, c.Warnings)
	}
}

func TestSampleServeEverywhere(t *testing.T) {
	c := mustLoad(t, "--config=testdata/serve-everywhere.yaml")
	if want := (Serve{Healthz: "0.0.0.0:10256", Metrics: "0.0.0.0:10249", ServiceMetrics: 5000}); c.Serve != want {
		t.Errorf("serve %+v", c.Serve)
	}
	if c.Run.OOMScoreAdj != -998 || c.API.Kubeconfig != "/var/lib/kube-proxy/kubeconfig.conf" {
		t.Errorf("run %+v, API %+v", c.Run, c.API)
	}
	if want := (Masquerade{Mark: 0x4000, Marks: service.DefaultMarks(), Mode: LocalClusterCIDR, CIDRs: prefixes("10.244.0.0/16")}); !reflect.DeepEqual(c.Masquerade, want) {
		t.Errorf("masquerade %+v", c.Masquerade)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// What kubeadm writes spells out every field with its zero value. That must not set anything, and not warn of anything.
func TestKubeadmFile(t *testing.T) {
	c := mustLoad(t, "--config=testdata/kubeadm.yaml")
	plain := mustLoad(t)
	plain.API.Kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf"
	plain.Masquerade.CIDRs = prefixes("10.244.0.0/16", "fd00:10:244::/56")
	plain.File, plain.Run.ConfigFile = c.File, c.Run.ConfigFile
	if !reflect.DeepEqual(c, plain) {
		t.Errorf("got  %+v\nwant %+v", c, plain)
	}
}

// The golden file is what kube-proxy 1.37.2 prints for `mode: ipvs`, but for the periods of iptables and nftables: it
// prints 0s there, having dropped the defaults when it converted to its internal type.
func TestDefaultsAreThoseOfKubeProxy(t *testing.T) {
	golden, err := os.ReadFile("testdata/defaults.golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--config=" + written(t, "")}} {
		c := mustLoad(t, args...)
		data, err := Encode(&c.File)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(golden), string(data)); diff != "" {
			t.Errorf("%q (-want +got)\n%s", args, diff)
		}
	}
}

func TestDefaultsOfAnIPv6File(t *testing.T) {
	c := mustLoad(t, "--config="+written(t, "bindAddress: fd00::1\n"))
	if c.Serve.Healthz != "[::]:10256" || c.Serve.Metrics != "[::1]:10249" || c.Node.Bind.String() != "fd00::1" {
		t.Errorf("%+v %+v", c.Serve, c.Node)
	}
}

func TestWriteAndReadBack(t *testing.T) {
	for _, args := range []string{
		"--config=testdata/strict-arp.yaml", "--config=testdata/serve-everywhere.yaml", "--config=testdata/kubeadm.yaml", "--config=testdata/all.yaml",
		"", "--ipvs-exclude-cidrs=10.0.0.0/8 --nodeport-addresses=all --vmodule=a=1 --feature-gates=X=true --healthz-port=5 --log-flush-frequency=1s",
	} {
		first := mustLoad(t, strings.Fields(args)...)
		path := filepath.Join(t.TempDir(), "written.yaml")
		if err := WriteFile(path, &first.File); err != nil {
			t.Fatal(err)
		}
		second := mustLoad(t, "--config="+path)
		second.Run.ConfigFile = first.Run.ConfigFile
		first.Warnings, second.Warnings = nil, nil // name flags in one case, fields in the other
		if !reflect.DeepEqual(first, second) {
			t.Errorf("%q\nfirst  %+v\nsecond %+v", args, first, second)
		}
	}
}

func TestWriteFileFails(t *testing.T) {
	err := WriteFile(t.TempDir()+"/no/such/place", defaultFile())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--write-config-to") {
		t.Errorf("%v", err)
	}
}

// Each field of the file gets a value that is not the default, so that none can be forgotten on the way.
func TestAllFieldsOfAFile(t *testing.T) {
	c := mustLoad(t, "--config=testdata/all.yaml")
	c.File = *defaultFile()
	c.Run.ConfigFile = ""
	got := dump(c)
	const golden = "testdata/all.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestUnknownFieldsAreNamed(t *testing.T) {
	path := written(t, "ipvs: {schedular: lc, scheduler: sh}\nmetricsBindAdress: 0.0.0.0\nclusterCIDR: 10.0.0.0/8\nclusterCIDR: 10.0.0.0/9\n")
	c := mustLoad(t, "--config="+path)
	if c.IPVS.Scheduler != "sh" {
		t.Errorf("scheduler %q", c.IPVS.Scheduler)
	}
	wantAll(t, strings.Join(c.Warnings, "\n"), `unknown field "ipvs.schedular"`, `unknown field "metricsBindAdress"`, "clusterCIDR", path)
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ content, message string }{
		"empty":         {"", "must begin with apiVersion"},
		"no kind":       {"apiVersion: kubeproxy.config.k8s.io/v1alpha1\n", "kind: KubeProxyConfiguration"},
		"no version":    {"kind: KubeProxyConfiguration\n", "must begin with apiVersion"},
		"other version": {"apiVersion: kubeproxy.config.k8s.io/v9\nkind: KubeProxyConfiguration\n", "v1alpha1"},
		"other kind":    {"apiVersion: v1\nkind: ConfigMap\n", "ConfigMap"},
		"not YAML":      {header + "ipvs: [\n", "correct the YAML"},
		"wrong type":    {header + "ipvs: {strictARP: 3}\n", "strictARP"},
		"bad duration":  {header + "ipvs: {tcpTimeout: long}\n", "long"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := load(t, "--config="+path)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			wantAll(t, err.Error(), c.message, path)
		})
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	_, err := load(t, "--config=/does/not/exist")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("%v", err)
	}
}

// FuzzFile: whatever a file holds, loading it ends in an error that says so or in a configuration that can be written and
// read back.
func FuzzFile(f *testing.F) {
	samples, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatal("no samples", err)
	}
	for _, sample := range samples {
		data, err := os.ReadFile(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(header + "logging: {flushFrequency: 7, vmodule: []}\nfeatureGates: {A: true}\nconntrack: {min: null}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := load(t, "--config="+path)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if err := WriteFile(path, &first.File); err != nil {
			t.Fatal(err)
		}
		second, err := load(t, "--config="+path)
		if err != nil {
			t.Fatalf("cannot be read back: %v", err)
		}
		first.Warnings, second.Warnings = nil, nil // what was overlooked in the first file is not in the second
		if !reflect.DeepEqual(first, second) {
			t.Errorf("first  %+v\nsecond %+v", first, second)
		}
	})
}
