package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"kube-ipvs-proxy/internal/config"
)

// ask returns the status, the Content-Type and the body of an answer.
func ask(t *testing.T, v views, path string, header ...string) (status int, kind, body string) {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	v.handler().ServeHTTP(answer, request)
	if answer.Code == http.StatusOK && strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain") && path != "/metrics" &&
		answer.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s may be taken for HTML", path)
	}
	return answer.Code, answer.Header().Get("Content-Type"), answer.Body.String()
}

// loaded returns the configuration that a command line means.
func loaded(t *testing.T, args ...string) config.Config {
	t.Helper()
	flags, set := config.NewFlags(), pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.AddTo(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Load(config.Host{Hostname: "node-1"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// testViews are views of a daemon that was started two hours ago.
func testViews(t *testing.T, args ...string) views {
	cfg := loaded(t, args...)
	return views{registry: prometheus.NewRegistry(), config: func() any { return &cfg.File }, profiling: cfg.Serve.Profiling,
		started: time.Now().Add(-2*time.Hour - 3*time.Minute), more: map[string]http.Handler{"GET /{$}": text("root"), "GET /services/": text("list")}}
}

// Every path of kube-proxy's metrics address answers as kube-proxy does.
func TestViews(t *testing.T) {
	v := testViews(t)
	for path, want := range map[string]string{"/proxyMode": "ipvs", "/healthz": "ok", "/healthz/ping": "ok", "/": "root"} {
		if status, kind, body := ask(t, v, path); status != http.StatusOK || body != want || kind != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d, %s, %q; want %q", path, status, kind, body, want)
		}
	}
	if status, kind, _ := ask(t, v, "/metrics"); status != http.StatusOK || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Errorf("/metrics: %d, %s", status, kind)
	}
	if status, _, _ := ask(t, v, "/elsewhere"); status != http.StatusNotFound {
		t.Errorf("/elsewhere: %d", status)
	}
}

// The profiles are there when they were asked for, and only then.
func TestProfiling(t *testing.T) {
	for args, want := range map[string]int{"--profiling=false": http.StatusNotFound, "--profiling": http.StatusOK} {
		v := testViews(t, args)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/debug/pprof/symbol"} {
			if status, _, _ := ask(t, v, path); status != want {
				t.Errorf("%s: %s answers %d, want %d", args, path, status, want)
			}
		}
	}
	if testViews(t).profiling {
		t.Error("profiles are served by default")
	}
}

// /configz has the shape of kube-proxy's: the file with its defaults, under the name of its group.
func TestConfigz(t *testing.T) {
	status, kind, body := ask(t, testViews(t, "--ipvs-scheduler=lc", "--cluster-cidr=10.244.0.0/16"), "/configz")
	if status != http.StatusOK || kind != "application/json" {
		t.Fatalf("%d, %s", status, kind)
	}
	var shown map[string]struct {
		Kind, APIVersion, Mode, ClusterCIDR, MetricsBindAddress string

		IPVS struct{ Scheduler, SyncPeriod string }
	}
	if err := json.Unmarshal([]byte(body), &shown); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	got := shown["kubeproxy.config.k8s.io"]
	if len(shown) != 1 || got.Kind != "KubeProxyConfiguration" || got.APIVersion != "kubeproxy.config.k8s.io/v1alpha1" || got.Mode != "ipvs" ||
		got.IPVS.Scheduler != "lc" || got.IPVS.SyncPeriod != "30s" || got.ClusterCIDR != "10.244.0.0/16" || got.MetricsBindAddress != "127.0.0.1:10249" {
		t.Errorf("%s", body)
	}
}

func TestStatusz(t *testing.T) {
	v := testViews(t)
	form := regexp.MustCompile(`^\nkube-ipvs-proxy statusz\nWarning: .*\n\nStarted: \w{3} \w{3} .* \d{4}\nUp: 2 hr 03 min \d\d sec\n` +
		`Go version: go\S+\nBinary version: \S+\n\nPaths: /configz /healthz /metrics /proxyMode /services /statusz\n$`)
	for _, accept := range []string{"", "text/plain", "text/html, */*;q=0.8", "application/json, text/*"} {
		status, kind, body := ask(t, v, "/statusz", "Accept", accept)
		if status != http.StatusOK || kind != "text/plain; charset=utf-8" || !form.MatchString(body) {
			t.Errorf("Accept: %s: %d, %s, %s", accept, status, kind, body)
		}
	}
	for _, accept := range []string{"application/json", "application/xml, image/png"} {
		if status, _, body := ask(t, v, "/statusz", "Accept", accept); status != http.StatusNotAcceptable || !strings.Contains(body, "text/plain") {
			t.Errorf("Accept: %s: %d, %s", accept, status, body)
		}
	}
}
