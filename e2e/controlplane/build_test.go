package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a file with its directories.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindRoot(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, modulePath, "go.mod"), "module x\n")
	deep := filepath.Join(root, "internal", "deep")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, deep, filepath.Join(root, modulePath)} {
		if got, err := findRoot(dir); err != nil || got != root {
			t.Errorf("from %s: %q, %v, want %q", dir, got, err, root)
		}
	}
	if _, err := findRoot(t.TempDir()); !errors.Is(err, errNoRoot) {
		t.Errorf("outside a checkout: %v, want %v", err, errNoRoot)
	}
}

func TestPinsFollowTheModule(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.sum"), "a\n")
	write(t, filepath.Join(dir, "go.mod"), "module x\nrequire k8s.io/kubernetes v1.37.2\n")
	first, err := readPins(dir)
	if err != nil || first.kubernetes != "v1.37.2" {
		t.Fatalf("got %+v, %v, want v1.37.2", first, err)
	}
	write(t, filepath.Join(dir, "go.mod"), "module x\nrequire (\n\tk8s.io/kubernetes v1.37.3 // indirect\n)\n")
	second, err := readPins(dir)
	if err != nil || second.kubernetes != "v1.37.3" || second.digest == first.digest {
		t.Errorf("after a change %+v, %v, want v1.37.3 and another digest than %s", second, err, first.digest)
	}
	write(t, filepath.Join(dir, "go.mod"), "module x\nreplace k8s.io/kubernetes => k8s.io/kubernetes v1.0.0\n")
	if _, err := readPins(dir); err == nil {
		t.Error("a module without Kubernetes is accepted")
	}
}

func TestVersionFlags(t *testing.T) {
	got := versionFlags("v1.37.2")
	for _, want := range []string{"gitVersion=v1.37.2", "gitMajor=1 ", "gitMinor=37"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestUpToDateNeedsStampAndPrograms(t *testing.T) {
	dir := t.TempDir()
	stamp := filepath.Join(dir, stampName)
	if upToDate(dir, stamp, "d") {
		t.Error("an empty directory is up to date")
	}
	write(t, stamp, "d\n")
	if upToDate(dir, stamp, "d") {
		t.Error("up to date without programs")
	}
	for _, p := range programs() {
		write(t, filepath.Join(dir, p.name), "")
	}
	if !upToDate(dir, stamp, "d") {
		t.Error("not up to date with everything there")
	}
	if upToDate(dir, stamp, "e") {
		t.Error("up to date for other pins")
	}
}

func TestFollowKeepsTheEnd(t *testing.T) {
	var log bytes.Buffer
	last := follow(strings.NewReader(strings.Repeat("pkg\n", 100)+"broken.go:1: no\n"), "etcd", &log)
	if len(last) != errorLines || last[errorLines-1] != "broken.go:1: no" {
		t.Errorf("kept %d lines ending in %q", len(last), last[len(last)-1])
	}
	if want := "finished with etcd: 101 packages"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q lacks %q", log.String(), want)
	}
}
