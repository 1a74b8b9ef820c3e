package app

import (
	"fmt"
	"mime"
	"net/http"
	"runtime"
	"strings"
	"time"
)

// statusz is the page /statusz of Kubernetes components (KEP-4827), as text: what runs, since when, and where to look. Its
// form is not for programs to read.
type statusz struct {
	started time.Time
	paths   []string
	now     func() time.Time
}

// statuszText has the lines of kube-proxy 1.37's page. The line that it leaves empty is for an emulated version, of which
// this daemon has none.
const statuszText = `
kube-ipvs-proxy statusz
Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.

Started: %s
Up: %s
Go version: %s
Binary version: %s

Paths: %s
`

// ServeHTTP implements http.Handler.
func (s statusz) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !acceptsText(r.Header.Values("Accept")) {
		http.Error(w, "this page is there as text/plain only", http.StatusNotAcceptable)
		return
	}
	up := int(s.now().Sub(s.started).Seconds())
	plain(w, fmt.Sprintf(statuszText, s.started.Format(time.UnixDate),
		fmt.Sprintf("%d hr %02d min %02d sec", up/3600, up/60%60, up%60),
		runtime.Version(), version(), strings.Join(s.paths, " ")))
}

// acceptsText reports whether the values of the header Accept leave room for a plain text.
func acceptsText(accept []string) bool {
	named := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		named = true
		switch media, _, err := mime.ParseMediaType(part); {
		case err != nil:
		case media == "*/*", media == "text/*", media == "text/plain":
			return true
		}
	}
	return !named
}
