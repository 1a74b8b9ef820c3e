//go:build browser

package page

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// measure is a page that loads the status page into a frame as wide as a screen, and tells what it looks like there. It is a
// page of the same server, so that it may look into the frame.
const measure = `<!DOCTYPE html><body style="margin:0"><iframe src="/framed" width="WIDTH" height="900" style="border:0"></iframe><script>
onload=()=>{const d=document.querySelector("iframe").contentDocument,e=d.documentElement,s=d.defaultView.getComputedStyle(d.body)
document.body.dataset.seen="wide "+e.scrollWidth+" of "+e.clientWidth+", padding "+s.paddingLeft+", "+d.querySelector("h3").textContent}
</script>`

// A browser shows the page without scrolling sideways, on a phone and on a desk, with its style, and asks for nothing else.
// SCREENSHOTS names a directory for pictures of it.
func TestBrowser(t *testing.T) {
	w := busyWorld()
	w.add("a-namespace-with-quite-a-long-name-as-some-operators-have", "and-a-service-with-a-name-of-63-characters-which-is-the-most-of", "fd00:96:1234:5678:9abc:def0:1234:5678",
		endpoint("fd00:10:244:1:ffff:ffff:ffff:ffff", "ip-10-0-123-234.eu-central-1.compute.internal", "eu-central-1a"))
	handler, err := New(w.source())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		mu.Unlock()
		if width, is := strings.CutPrefix(r.URL.Path, "/measure/"); is {
			_, _ = out.Write([]byte(strings.Replace(measure, "WIDTH", width, 1)))
			return
		}
		handler.ServeHTTP(framed{out, r.URL.Path == "/framed"}, r)
	}))
	defer server.Close()
	for width, want := range map[string]string{"390": "wide 390 of 390, padding 12px", "1280": "wide 1280 of 1280, padding 16px"} {
		dom := chromium(t, "--window-size=1400,1000", "--dump-dom", server.URL+"/measure/"+width)
		if !strings.Contains(dom, want) || !strings.Contains(dom, "a-namespace-with") {
			t.Errorf("%s: want %s\n%s", width, want, dom)
		}
		if folder := os.Getenv("SCREENSHOTS"); folder != "" {
			for scheme, flag := range map[string]string{"light": "preferredColorScheme=1", "dark": "preferredColorScheme=0"} {
				chromium(t, "--window-size="+width+",1700", "--blink-settings="+flag, "--screenshot="+filepath.Join(folder, width+"-"+scheme+".png"),
					server.URL+"/status")
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	delete(asked, "/status")
	delete(asked, "/favicon.ico") // browsers ask for it by themselves
	if len(asked) != 3 || asked["/framed"] != 2 {
		t.Errorf("the browser asked for %v", asked)
	}
}

// framed lets a page be shown in a frame, which the page's own policy forbids.
type framed struct {
	http.ResponseWriter
	framed bool
}

// Write implements http.ResponseWriter.
func (f framed) Write(body []byte) (int, error) {
	if policy := f.Header().Get("Content-Security-Policy"); f.framed {
		f.Header().Set("Content-Security-Policy", strings.Replace(policy, "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
	}
	return f.ResponseWriter.Write(body)
}

// chromium runs the browser and returns what it prints.
func chromium(t *testing.T, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "chromium", append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir=" + t.TempDir(), "--disable-background-networking", "--virtual-time-budget=5000"}, arguments...)...)
	command.WaitDelay = time.Minute
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v", arguments, err)
	}
	return string(out)
}
