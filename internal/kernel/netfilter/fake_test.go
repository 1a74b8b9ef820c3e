package netfilter

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRunner knows the programs it is given and what iptables-save prints; every restore is recorded. Anything else that
// is executed fails the test.
type fakeRunner struct {
	testing.TB
	saves    map[string]string // program → what it prints; the restore program of the same name exists too
	failures map[string]error  // program → how it fails
	refuses  string            // inputs that have it fail, after committing the tables before it
	commits  map[string]string // beginning of an input → what iptables-save prints once it was committed
	ran      []string
	inputs   []string
}

func (f *fakeRunner) Find(name string) (string, error) {
	if _, ok := f.saves[strings.Replace(name, "-restore", "-save", 1)]; ok {
		return "/sbin/" + name, nil
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

func (f *fakeRunner) Start(ctx context.Context, c Command) func() (string, error) {
	text, err := f.run(ctx, c)
	return func() (string, error) { return text, err }
}

func (f *fakeRunner) run(ctx context.Context, c Command) (string, error) {
	if _, limited := ctx.Deadline(); !limited {
		f.Errorf("%s runs without a time limit", c)
	}
	if !slices.Contains(c.Env, "LC_ALL=C") {
		f.Errorf("%s runs in environment %q, want LC_ALL=C", c, c.Env)
	}
	f.ran = append(f.ran, c.String())
	name := strings.TrimPrefix(c.Path, "/sbin/")
	if err := f.failures[name]; err != nil {
		return "", err
	}
	if strings.HasSuffix(name, "-restore") {
		if c.Stdin == "" || !slices.Contains(c.Args, "--noflush") || !slices.Contains(c.Args, "-w") {
			f.Errorf("%s with input %q, want -w, --noflush and an input", c, c.Stdin)
		}
		f.inputs = append(f.inputs, c.Stdin)
		return "", f.commit(strings.Replace(name, "-restore", "-save", 1), c.Stdin)
	}
	if c.Stdin != "" || len(c.Args) > 0 {
		f.Errorf("%s with input %q, want neither arguments nor input", c, c.Stdin)
	}
	text, ok := f.saves[name]
	if !ok {
		f.Errorf("unexpected execution of %s", c)
	}
	return text, nil
}

func (f *fakeRunner) commit(save, input string) error {
	table, _, _ := strings.Cut(input, "\n")
	if chains := f.commits[table]; chains != "" && !strings.HasPrefix(input, f.refuses) {
		f.saves[save] = table + "\n" + chains + "COMMIT\n"
	}
	if f.refuses != "" && strings.Contains(input, f.refuses) {
		return &ExitError{Code: 2, Stderr: "refused"}
	}
	return nil
}

// procSys returns a directory that looks like /proc/sys of a host with IPv6 switched on ("0") or off ("1").
func procSys(t testing.TB, disabled string) string {
	t.Helper()
	root := t.TempDir()
	directory := filepath.Join(root, "net/ipv6/conf/all")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "disable_ipv6"), []byte(disabled+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// procNet returns a directory that looks like /proc/net of a host with these tables of iptables-legacy, one a line.
func procNet(t testing.TB, tables string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(tables), 0o440); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
