package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// fetch asks the daemon's metrics address.
func (n node) fetch(t *testing.T, method, path string) (status int, kind, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:10249"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := n.HTTPClient(cluster.Patience).Do(request)
	if err != nil {
		return 0, "", "", err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header.Get("Content-Type"), string(text), errors.Join(err, response.Body.Close())
}

// The page has what IPVS has, also where somebody has changed that; and kube-proxy's answer at / stays.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start(t).serves(t)
	cluster.Run(t, n.Netns, "sh", "-ec", "ipvsadm -d -t 10.96.0.80:443 -r 10.244.1.2:8443; ipvsadm -a -t 10.96.0.80:443 -r 10.9.9.9:1 -m -w 3; ipvsadm -D -u 10.96.0.80:80")
	awaitPage := func(query string, parts ...string) {
		t.Helper()
		cluster.Await(t, "the page "+query, func() error {
			status, kind, body, err := n.fetch(t, http.MethodGet, "/status"+query)
			if err != nil || status != http.StatusOK || kind != "text/html; charset=utf-8" {
				return fmt.Errorf("%d, %s, %w: %s", status, kind, err, body)
			}
			for _, part := range parts {
				if text, without := strings.CutPrefix(part, "!"); strings.Contains(body, text) == without {
					return fmt.Errorf("%q is there: %v: %s", text, without, body)
				}
			}
			return nil
		})
	}
	awaitPage("", "page 1 of ", "<h3>default/idle", "<h3>default/local", "!Not synced")
	awaitPage("?q=10.96.0.80:443", "10.96.0.80:443", "10.9.9.9:1</th>", ">stray<", ">missing<", ">serving<", "!default/idle")
	awaitPage("?q=default/idle", "no endpoints", "TCP 10.96.0.82:80", "!default/web")
	awaitPage("?q=fd00:96::80", "TCP [fd00:96::80]:80", "[fd00:10:244:1::3]:8080", "!default/local")
	for path, want := range map[string]int{"/": http.StatusNotFound, "/status?page=0": http.StatusBadRequest, "/status?q=nobody": http.StatusOK} {
		if status, _, body, err := n.fetch(t, http.MethodGet, path); err != nil || status != want {
			t.Errorf("%s: %d, %v: %s", path, status, err, body)
		}
	}
	for method, want := range map[string]int{http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed} {
		if status, _, _, err := n.fetch(t, method, "/status"); err != nil || status != want {
			t.Errorf("%s: %d, %v", method, status, err)
		}
	}
}
