package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// patience bounds how long a reader waits for the end of a round, and for IPVS.
const patience = 5 * time.Second

// Source is where the facts come from. Its functions may be called from any goroutine.
type Source struct {
	Node, Version string
	Started       time.Time
	Clock         clock.PassiveClock
	// Pools returns the virtual servers that are chosen, as reconcile.Reconciler.Pools does.
	Pools func(context.Context, func([]dataplane.Pool, []reconcile.Owner) []int) (reconcile.View, error)
	// Services returns the Services of these names, as they were delivered.
	Services func([]service.Name) []reconcile.Delivered
	// Usage calls visit for each of the virtual servers that is there. The real servers are visit's until it returns.
	Usage   func(ctx context.Context, keys []dataplane.VirtualServerKey, visit func(dataplane.VirtualServerKey, dataplane.Usage)) error
	Ages    func() map[string]time.Duration // since each source last heard anything
	Healthy func() bool                     // the daemon keeps up
	History *History
}

// page answers with the page.
type page struct {
	source   Source
	template *template.Template
	policy   string // Content-Security-Policy
}

// New returns the page. It answers GET and HEAD; which ones get there is for the caller to see to. Errors are those of the
// page's own template.
func New(source Source) (http.Handler, error) {
	parsed, err := template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return style },
		"ago":   ago,
		"count": count,
	}).Parse(layout)
	if err != nil {
		return nil, fmt.Errorf("read the template of the status page: %w", err)
	}
	sum := sha256.Sum256([]byte(style))
	return page{source, parsed, "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

// ServeHTTP implements http.Handler. Status 503 comes with a page, too, which says what cannot be told.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page can only be read", http.StatusMethodNotAllowed)
		return
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	shown := p.source.gather(ctx, q)
	var body bytes.Buffer
	if err := p.template.Execute(&body, shown); err != nil {
		http.Error(w, fmt.Sprintf("write the page: %v", err), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", p.policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	if shown.Error != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(body.Bytes()) // the client has gone when writing fails; there is nobody to tell
	}
}

// ago says how long before now something was.
func ago(now, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return short(now.Sub(at)) + " ago"
}

// short is a duration as precise as people want it.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Second).String()
}

// count returns a number and what is counted.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
