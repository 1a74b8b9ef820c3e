package manifests

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The regular reading opens no file that has not changed for some time, and every other one.
func TestUnchangedFilesAreNotOpened(t *testing.T) {
	const name = "web.yaml"
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	r := reader{dir: dir}
	reading := func() *file {
		t.Helper()
		_, err := r.read()
		must(t, err)
		return r.files[name]
	}
	var second *file
	for young := false; !young; { // it is not on a machine that stands still for so long
		written := time.Now()
		write(t, path, web)
		first := reading()
		trusted := first.state
		first.sum = [sha256.Size]byte{} // now a reading of the contents makes another file of it
		second = reading()
		if young = time.Since(written) < settledAge; young && trusted != (state{}) {
			t.Errorf("a file that was just written is trusted to stay: %+v", trusted)
		}
		if young && second == first {
			t.Fatal("a file that was just written was not read")
		}
	}
	second.sum = [sha256.Size]byte{}
	second.state, _ = stateOf(path, time.Now())
	if reading() != second {
		t.Error("a file of the same state was read")
	}
	time.Sleep(20 * time.Millisecond) // for the file system to give another time
	before, err := os.Stat(path)
	must(t, err)
	write(t, path, moved("10.96.0.2"))
	must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	if now := reading(); now == second || len(now.objects) != 1 {
		t.Error("a change of the same size and time of modification went unnoticed")
	}
}

// The files that came with this package are old enough.
func TestStateOfOldFilesIsKept(t *testing.T) {
	const name = "old.json"
	dir := t.TempDir()
	source, err := filepath.Abs("manifests_test.go")
	must(t, err)
	must(t, os.Symlink(source, filepath.Join(dir, name)))
	r := reader{dir: dir}
	_, err = r.read()
	must(t, err)
	if r.files[name].state == (state{}) {
		t.Error("the state of a file that has not changed for long is not remembered")
	}
}
