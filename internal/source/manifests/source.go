package manifests

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"kube-ipvs-proxy/internal/service"
)

// Name is what a Source passes to Sink.Complete.
const Name = "manifests"

// Completes lists the names that a Source passes to Sink.Complete.
func Completes() []string { return []string{Name} }

// Options are what a Source can do without. The zero value is right for production.
type Options struct {
	// Settle is how long nothing must have changed before the directory is read again; 0 for 250 ms. Under changes that
	// never end it is read every ten of these.
	Settle time.Duration
	// Reread is how often the directory is read even if no change was noticed; 0 for 30 s.
	Reread time.Duration
	// After is the clock; nil for time.After.
	After func(time.Duration) <-chan time.Time
	// Log is told, as key-value pairs, what was read; nil for nobody.
	Log func(message string, keysAndValues ...any)
}

// Source delivers the manifests of one directory to one sink.
type Source struct {
	sink    service.Sink
	node    string
	options Options
	reader  reader
	world   world
	troubles
}

// New returns a source for the manifests in dir that takes of Nodes the one of this name.
func New(dir, node string, sink service.Sink, options Options) *Source {
	if options.Settle == 0 {
		options.Settle = 250 * time.Millisecond
	}
	if options.Reread == 0 {
		options.Reread = 30 * time.Second
	}
	if options.After == nil {
		options.After = time.After
	}
	if options.Log == nil {
		options.Log = func(string, ...any) {}
	}
	return &Source{
		sink: sink, node: node, options: options, reader: reader{dir: dir},
		troubles: troubles{object: "directory " + dir, sink: sink, known: map[string]string{}},
	}
}

// Run delivers what the directory holds, completes, and then delivers every change until the context ends, when it
// returns nil. It fails only when the directory cannot be read at the start.
func (s *Source) Run(ctx context.Context) error {
	// A directory that is not there is one error, not a second one about the watch.
	if _, err := os.ReadDir(s.reader.dir); err != nil {
		return s.noDirectory(err)
	}
	// Watching begins before the first reading, so that no change falls between them. Without a watch there is still
	// the regular reading.
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		s.set("watch", fmt.Sprintf("changes are noticed only every %v: %v; raise fs.inotify.max_user_instances", s.options.Reread, err))
		watcher = &fsnotify.Watcher{}
	} else {
		defer func() { _ = watcher.Close() }() // nothing depends on it any more
	}
	s.watch(watcher)
	if _, err := s.reader.read(); err != nil {
		return s.noDirectory(err)
	}
	s.update()
	s.sink.Complete(Name)
	s.follow(ctx, watcher)
	return nil
}

func (s *Source) noDirectory(err error) error {
	return fmt.Errorf("reading the manifests: %w; create the directory %s with the Services and EndpointSlices to serve, or correct the setting", err, s.reader.dir)
}

// follow reads the directory again when it has changed, and from time to time.
func (s *Source) follow(ctx context.Context, watcher *fsnotify.Watcher) {
	var settled, latest <-chan time.Time
	reread := s.options.After(s.options.Reread)
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watcher.Events:
			if event.Op == fsnotify.Chmod {
				continue
			}
			settled = s.options.After(s.options.Settle)
			if latest == nil {
				latest = s.options.After(10 * s.options.Settle)
			}
			continue
		case err := <-watcher.Errors:
			s.options.Log("the watch of the manifests lost events; reading them all", "directory", s.reader.dir, "error", err)
		case <-settled:
		case <-latest:
		case <-reread:
			reread = s.options.After(s.options.Reread)
		}
		settled, latest = nil, nil
		s.watch(watcher)
		s.reread()
	}
}

// watch makes sure that the directory is watched: it may be another one than before, under the same name.
func (s *Source) watch(watcher *fsnotify.Watcher) {
	if watcher.Events == nil {
		return
	}
	reason := ""
	if err := watcher.Add(s.reader.dir); err != nil {
		reason = fmt.Sprintf("changes are noticed only every %v: %v; check that the directory is there and fs.inotify.max_user_watches", s.options.Reread, err)
	}
	s.set("watch", reason)
}

func (s *Source) reread() {
	changed, err := s.reader.read()
	if err != nil {
		s.set("read", fmt.Sprintf("%v; what it held stays in force; bring the directory back", err))
		return
	}
	s.set("read", "")
	if changed {
		s.update()
	}
}

// update delivers what is different now.
func (s *Source) update() {
	now := newWorld(s.reader.files, s.node)
	deliver(s.sink, s.world, now)
	s.world = now
	s.options.Log("manifests read", "directory", s.reader.dir, "files", len(s.reader.files), "services", len(now.services), "slices", len(now.slices))
}

// troubles are what is wrong with the directory itself, by what cannot be done.
type troubles struct {
	object string
	sink   service.Sink
	known  map[string]string
}

// set notes why something cannot be done; an empty reason means that it can.
func (t *troubles) set(what, reason string) {
	if t.known[what] == reason {
		return
	}
	t.known[what] = reason
	var problems []service.Problem
	for _, what := range []string{"read", "watch"} {
		if t.known[what] != "" {
			problems = append(problems, service.Problem{Object: t.object, Field: what, Reason: t.known[what]})
		}
	}
	t.sink.Report(t.object, problems)
}
