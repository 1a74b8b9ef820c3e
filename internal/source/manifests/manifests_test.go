package manifests

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"kube-ipvs-proxy/internal/service"
)

// recorder is a sink that keeps what it is told, as text by object, and a log of the calls.
type recorder struct {
	mutex sync.Mutex
	state map[string]string
	lines []string
}

func newRecorder() *recorder { return &recorder{state: map[string]string{}} }

func (r *recorder) set(object, text string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.state[object] = text
	r.lines = append(r.lines, "set "+object)
}

func (r *recorder) remove(object string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.state, object)
	r.lines = append(r.lines, "delete "+object)
}

func (r *recorder) SetService(s service.Service) {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", slices.Concat(s.VIPs.Cluster, s.VIPs.External, s.VIPs.LoadBalancer))
	for _, p := range s.Ports {
		fmt.Fprintf(&b, " %s%s/%d>%d", p.Name, p.Protocol, p.Port, p.NodePort)
	}
	if s.Policy.AffinityTimeout > 0 {
		fmt.Fprintf(&b, " affinity %v", s.Policy.AffinityTimeout)
	}
	if s.Policy.ExternalLocal {
		b.WriteString(" external Local")
	}
	if s.Policy.PublishNotReady {
		b.WriteString(" also not ready")
	}
	r.set("service "+s.Name.String(), b.String())
}

func (r *recorder) SetSlice(s service.Slice) {
	var b strings.Builder
	fmt.Fprintf(&b, "of %s:", s.Service)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, " %s%s/%d", p.Name, p.Protocol, p.Port)
	}
	for _, e := range s.Endpoints {
		fmt.Fprintf(&b, " %s@%s", e.Addr, e.Node)
		if !e.Ready {
			b.WriteString("(not ready)")
		}
		if len(e.ForZones)+len(e.ForNodes) > 0 {
			fmt.Fprintf(&b, " for %v %v", e.ForZones, e.ForNodes)
		}
	}
	r.set("slice "+s.Name.String(), b.String())
}

func (r *recorder) SetNode(n service.Node)          { r.set("node "+n.Name, fmt.Sprint(n.Zone, n.Addresses)) }
func (r *recorder) DeleteService(name service.Name) { r.remove("service " + name.String()) }
func (r *recorder) DeleteSlice(name service.Name)   { r.remove("slice " + name.String()) }
func (r *recorder) DeleteNode(name string)          { r.remove("node " + name) }
func (r *recorder) SetOtherNodes(a []netip.Addr)    { r.set("others", fmt.Sprint(a)) }
func (r *recorder) Complete(source string)          { r.set("complete", source) }

func (r *recorder) Report(object string, problems []service.Problem) {
	var lines []string
	for _, p := range problems {
		lines = append(lines, fmt.Sprintf("  %s %q: %s", p.Field, p.Value, p.Reason))
	}
	if len(lines) == 0 {
		r.remove("problems of " + object)
		return
	}
	r.set("problems of "+object, "\n"+strings.Join(lines, "\n"))
}

// dump prints all that is known, sorted.
func (r *recorder) dump() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var lines []string
	for object, text := range r.state {
		lines = append(lines, object+": "+text+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (r *recorder) get(object string) string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.state[object]
}

func (r *recorder) calls() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.lines)
}

// eventually waits until a condition holds.
func (r *recorder) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("still not: %s; known:\n%s", what, r.dump())
		case <-tick.C:
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDirectories reads directories that are written down in testdata, and compares with what was written down to come
// of them. UPDATE_TESTDATA=1 writes down what comes.
func TestDirectories(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 3 {
		t.Fatalf("testdata: %v, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			last := len(archive.Files) - 1
			dir := t.TempDir()
			for _, f := range archive.Files[:last] {
				write(t, filepath.Join(dir, f.Name), string(f.Data))
			}
			sink := newRecorder()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // the first reading only
			if err := New(dir, "node-1", sink, Options{}).Run(ctx); err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE_TESTDATA") != "" {
				archive.Files[last].Data = []byte(sink.dump())
				write(t, path, string(txtar.Format(archive)))
			}
			if diff := cmp.Diff(string(archive.Files[last].Data), sink.dump()); diff != "" {
				t.Errorf("what comes of it (-want +got):\n%s", diff)
			}
			if sink.lines[len(sink.lines)-1] != "set complete" {
				t.Errorf("not complete at the end: %v", sink.lines)
			}
		})
	}
}
