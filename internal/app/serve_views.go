package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// views are what the metrics address shows.
type views struct {
	registry  *prometheus.Registry
	config    func() any // the KubeProxyConfiguration in effect, as encoding/json takes it
	started   time.Time
	profiling bool
	// more are further pages by their patterns, as http.ServeMux takes them: "GET /{$}", say, but not "GET /", which would
	// overlap with the others.
	more map[string]http.Handler
}

// configGroup is the API group under which /configz shows the configuration.
const configGroup = "kubeproxy.config.k8s.io"

// handler serves /metrics and the other views, at kube-proxy's paths and with its answers.
func (v views) handler() http.Handler {
	pages := map[string]http.Handler{
		"GET /metrics":      promhttp.HandlerFor(v.registry, promhttp.HandlerOpts{}),
		"GET /healthz":      text("ok"), // says that somebody answers; how programming goes is said on the health address
		"GET /healthz/ping": text("ok"),
		"GET /proxyMode":    text("ipvs"),
		"GET /configz":      http.HandlerFunc(v.configz),
	}
	if v.profiling {
		for pattern, page := range map[string]http.HandlerFunc{
			"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
		} {
			pages[pattern] = page
		}
	}
	mux := http.NewServeMux()
	paths := []string{"/statusz"}
	for _, some := range []map[string]http.Handler{pages, v.more} {
		for pattern, page := range some {
			mux.Handle(pattern, page)
			if top := topOf(pattern); top != "/" {
				paths = append(paths, top)
			}
		}
	}
	slices.Sort(paths)
	mux.Handle("GET /statusz", statusz{started: v.started, paths: slices.Compact(paths), now: time.Now})
	return mux
}

// topOf returns the first element of a pattern's path, "/" for the root.
func topOf(pattern string) string {
	_, path, _ := strings.Cut(strings.TrimSuffix(pattern, "{$}"), "/")
	top, _, _ := strings.Cut(path, "/")
	return "/" + top
}

// text is a page that always says the same.
func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		plain(w, body)
	})
}

// plain answers with a text, which is not to be taken for HTML.
func plain(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(body)) // the client has gone when writing fails; there is nobody to tell
}

// configz shows the configuration in effect.
func (v views) configz(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(map[string]any{configGroup: v.config()})
	if err != nil {
		http.Error(w, fmt.Sprintf("print the configuration: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body)
}
