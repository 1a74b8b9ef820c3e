package manifests

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	web     = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n"
	other   = "---\napiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}\n"
	webName = "service default/web"
)

// moved is the Service web at another address.
func moved(addr string) string { return strings.ReplaceAll(web, "10.96.0.1", addr) }

// manualClock fires the regular re-reading when a test says so, and the others at once.
type manualClock struct {
	mutex  sync.Mutex
	reread chan time.Time
}

const testReread = time.Hour

func (c *manualClock) after(d time.Duration) <-chan time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if d == testReread {
		return c.reread
	}
	return time.After(d)
}

// follow runs a source on dir until the test ends. The function returned has it read the directory again.
func follow(t *testing.T, dir string) (*recorder, func()) {
	t.Helper()
	clock, sink := &manualClock{reread: make(chan time.Time)}, newRecorder()
	source := New(dir, "node-1", sink, Options{Settle: 5 * time.Millisecond, Reread: testReread, After: clock.after})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	sink.eventually(t, "complete", func() bool { return sink.get("complete") == Name })
	return sink, func() { clock.reread <- time.Time{} }
}

func (r *recorder) awaitWeb(t *testing.T, addr string) {
	t.Helper()
	r.eventually(t, "web at "+addr, func() bool { return strings.Contains(r.get(webName), addr) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesComeChangeAndGo(t *testing.T) {
	dir := t.TempDir()
	sink, _ := follow(t, dir)
	path := filepath.Join(dir, "web.yaml")
	write(t, path, web+other)
	sink.awaitWeb(t, "10.96.0.1")
	sink.eventually(t, "other", func() bool { return sink.get("service default/other") != "" })
	write(t, path, moved("10.96.0.9"))
	sink.awaitWeb(t, "10.96.0.9")
	sink.eventually(t, "other gone", func() bool { return sink.get("service default/other") == "" })
	must(t, os.Remove(path))
	sink.eventually(t, "web gone", func() bool { return sink.get(webName) == "" })
}

// A Service that gets another name is served all the time, though the sink may act on each word it is told.
func TestRenamedServiceHasEndpointsAllTheTime(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yaml")
	const endpoints = "---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets: [{addresses: [{ip: 10.1.0.1}], ports: [{port: 80}]}]\n"
	write(t, path, web+endpoints)
	sink, _ := follow(t, dir)
	sink.awaitWeb(t, "10.96.0.1")
	write(t, path, strings.ReplaceAll(web+endpoints, "{name: web}", "{name: shop}"))
	sink.eventually(t, "renamed", func() bool { return sink.get("slice default/web:0:ipv4") == "" })
	sink.mutex.Lock()
	defer sink.mutex.Unlock()
	var order []string
	for _, line := range sink.lines[slices.Index(sink.lines, "set "+webName)+1:] {
		if strings.HasPrefix(line, "set s") || strings.HasPrefix(line, "delete s") {
			order = append(order, line)
		}
	}
	want := []string{"set slice default/shop:0:ipv4", "set service default/shop", "delete service default/web", "delete slice default/web:0:ipv4"}
	if !slices.Equal(order, want) {
		t.Errorf("delivered as %q, want %q", order, want)
	}
}

// What is bad is said; what was good before stays.
func TestLastGoodVersionStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yaml")
	write(t, path, web+other)
	sink, reread := follow(t, dir)
	const problems = "problems of file web.yaml"
	for name, bad := range map[string]string{
		"half-written": web + other[:60],
		"wrong type":   strings.ReplaceAll(moved("10.96.0.9"), "port: 80", "port: eighty"),
		"emptied":      "",
	} {
		write(t, path, bad)
		sink.eventually(t, name+" said", func() bool { return strings.Contains(sink.get(problems), "last good version stays") })
		reread()
		reread() // the second is taken only when the first has been worked on
		if !strings.Contains(sink.get(webName), "10.96.0.1") || sink.get("service default/other") == "" {
			t.Errorf("%s: the last good version did not stay; known:\n%s", name, sink.dump())
		}
		write(t, path, web+other)
		sink.eventually(t, name+" mended", func() bool { return sink.get(problems) == "" })
	}
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	sink.eventually(t, "a directory in its place said", func() bool { return strings.Contains(sink.get(problems), "not a regular file") })
	if sink.get(webName) == "" {
		t.Error("the last good version did not stay")
	}
}

func TestAtomicRename(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "web.yaml"), web)
	sink, _ := follow(t, dir)
	write(t, filepath.Join(dir, ".web.tmp"), moved("10.96.0.9"))
	must(t, os.Rename(filepath.Join(dir, ".web.tmp"), filepath.Join(dir, "web.yaml")))
	sink.awaitWeb(t, "10.96.0.9")
}

// A ConfigMap volume changes by one rename of a hidden link to a directory.
func TestConfigMapVolume(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "web.yaml"), text)
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..v1", web)
	must(t, os.Symlink("..data/web.yaml", filepath.Join(dir, "web.yaml")))
	sink, _ := follow(t, dir)
	sink.awaitWeb(t, "10.96.0.1")
	publish("..v2", moved("10.96.0.9"))
	must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	sink.awaitWeb(t, "10.96.0.9")
	if sink.get("problems of file web.yaml") != "" {
		t.Errorf("problems: %s", sink.dump())
	}
}

// A change behind a link, of which the directory's watch knows nothing, stands for any lost event.
func TestRegularReadingFindsWhatNoEventTold(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "web")
	write(t, elsewhere, web)
	must(t, os.Symlink(elsewhere, filepath.Join(dir, "web.yaml")))
	sink, reread := follow(t, dir)
	calls := sink.calls()
	reread()
	reread()
	if sink.calls() != calls {
		t.Errorf("reading again what did not change told the sink: %v", sink.lines[calls:])
	}
	write(t, elsewhere, moved("10.96.0.9"))
	reread()
	sink.awaitWeb(t, "10.96.0.9")
}

func TestDirectoryDisappearsAndComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "web.yaml"), web)
	sink, reread := follow(t, dir)
	must(t, os.Rename(dir, dir+".away"))
	reread()
	problems := "problems of directory " + dir
	sink.eventually(t, "said", func() bool { return strings.Contains(sink.get(problems), "stays in force") })
	if sink.get(webName) == "" {
		t.Error("what it held did not stay")
	}
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "web.yaml"), moved("10.96.0.9"))
	reread()
	sink.awaitWeb(t, "10.96.0.9")
	sink.eventually(t, "mended", func() bool { return sink.get(problems) == "" })
	write(t, filepath.Join(dir, "web.yaml"), moved("10.96.0.8")) // the new directory is watched, too
	sink.awaitWeb(t, "10.96.0.8")
}

func TestMissingDirectoryAtStart(t *testing.T) {
	sink := newRecorder()
	err := New(filepath.Join(t.TempDir(), "none"), "node-1", sink, Options{}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "create the directory") || !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("Run: %v", err)
	}
	if sink.calls() != 0 {
		t.Errorf("besides the error, the sink was told:\n%s", sink.dump())
	}
}

// unwrapAll returns the innermost error.
func unwrapAll(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = inner.Unwrap()
	}
}

// Deleting what counts brings back what it hid.
func TestSecondFileTakesOver(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), web)
	write(t, filepath.Join(dir, "b.yaml"), moved("10.96.0.9"))
	sink, _ := follow(t, dir)
	if !strings.Contains(sink.get(webName), "10.96.0.1") || !strings.Contains(sink.get("problems of Service default/web"), "also in a.yaml") {
		t.Errorf("known:\n%s", sink.dump())
	}
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	sink.awaitWeb(t, "10.96.0.9")
	sink.eventually(t, "problem gone", func() bool { return sink.get("problems of Service default/web") == "" })
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(web + other))
	f.Add([]byte("a: &a [*a]\nkind: Service\napiVersion: v1\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{kind: Service, apiVersion: v1, spec: {ports: [{port: .inf}]}}]\n"))
	f.Add([]byte("{kind: Service, apiVersion: v1, metadata: {creationTimestamp: 7, labels: {? [x] : y}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := decode("x.yaml", data)
		if found.bad && len(found.problems) == 0 {
			t.Error("bad, but nobody says why")
		}
		newWorld(map[string]*file{"x.yaml": {objects: found.objects, problems: found.problems}}, "node-1")
	})
}
