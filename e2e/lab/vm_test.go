package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSpecRoundTrip(t *testing.T) {
	cases := [][]string{nil, {""}, {"sh", "-c", "", "a b", "line\nline", "\xff\xfe"}, {"", ""}}
	for _, argv := range cases {
		dir := t.TempDir()
		spec := guestSpec{Dir: "/w d", Shares: []string{"/a"}, Forward: []int{80}, OneOutput: true}
		environ := []string{"A=1", "EMPTY=", "BYTES=\xff\n="}
		if err := writeSpec(dir, spec, argv, environ); err != nil {
			t.Fatal(err)
		}
		gotSpec, gotArgv, gotEnviron, err := readSpec(dir)
		if err != nil || gotSpec.Dir != spec.Dir || !gotSpec.OneOutput || !slices.Equal(gotSpec.Forward, spec.Forward) {
			t.Errorf("spec %+v, error %v", gotSpec, err)
		}
		if !slices.Equal(gotArgv, argv) || !slices.Equal(gotEnviron, environ) {
			t.Errorf("argv %q environ %q, want %q %q", gotArgv, gotEnviron, argv, environ)
		}
	}
}

func TestWithLabVariableChangesNothingElse(t *testing.T) {
	got := withLabVariable([]string{"A=1", labVariable + "=native", labVariable + "X=1"}, modeVM)
	if want := []string{"A=1", labVariable + "X=1", labVariable + "=vm"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSharedDirs(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"w/sub", "go-build7/b001", "out", "cover"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("out", filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	opt := options{share: []string{"sub", base + "/w"}}
	opt.command = []string{base + "/go-build7/b001/x.test", "-test.outputdir=" + base + "/link", "-test.v"}
	getenv := func(name string) string { return map[string]string{"GOCOVERDIR": base + "/cover"}[name] }
	got, err := sharedDirs(base+"/w", opt, getenv)
	want := []string{base + "/cover", base + "/go-build7/b001", base + "/out", base + "/w", base + "/w/sub"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("shared %q, error %v; want %q", got, err, want)
	}
	opt.share = []string{"missing"}
	if _, err := sharedDirs(base+"/w", opt, getenv); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
	if got, err := sharedDirs("/", options{command: []string{"true"}}, os.Getenv); err == nil && slices.Contains(got, "/") {
		t.Error("the root is shared: everything the command writes would reach the host")
	}
}

func TestFrames(t *testing.T) {
	var wire bytes.Buffer
	w := &frameWriter{w: &wire}
	big := bytes.Repeat([]byte("0123456789"), 20_000)
	if err := errors.Join(w.send(frameReady, nil), w.pump(frameStdout, bytes.NewReader(big)), w.send(frameExit, []byte{0, 0, 0, 7})); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(wire.Bytes())
	var out []byte
	var kinds []frameKind
	for {
		kind, payload, err := readFrame(&wire)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
		if kind == frameStdout {
			out = append(out, payload...)
		}
	}
	if !bytes.Equal(out, big) || kinds[0] != frameReady || kinds[len(kinds)-1] != frameExit {
		t.Errorf("%d bytes in frames %q, want %d", len(out), kinds, len(big))
	}
	if _, _, err := readFrame(bytes.NewReader(whole[len(whole)-3:])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut header: error %v", err)
	}
	if _, _, err := readFrame(strings.NewReader("o\xff\xff\xff\xff")); err == nil {
		t.Error("a frame of 4 GiB was accepted")
	}
}

func TestQEMUArgs(t *testing.T) {
	opt := options{vm: vmOptions{memoryMiB: 512, accel: "tcg"}}
	k := kernel{image: "/k/vmlinux"}
	line := strings.Join(qemuArgs(opt, k, "/tmp/lab-1", "/c/log", 3), " ")
	for _, want := range []string{
		"-smp 3", "-m 512M", "share=on,size=512M", "-kernel /k/vmlinux", "init=/tmp/lab-1/init", "LAB_GUEST=/tmp/lab-1",
		"path=/tmp/lab-1/root.sock", "path=/tmp/lab-1/shared.sock", "path=/tmp/lab-1/port.sock", "path=/c/log", "tcg,thread=multi", "-no-reboot",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in: %s", want, line)
		}
	}
	if strings.Contains(line, "netdev") {
		t.Errorf("a network card nobody asked for: %s", line)
	}
	opt.forward, opt.vm.accel = []int{80}, "kvm"
	line = strings.Join(qemuArgs(opt, k, "/tmp/lab-1", "/c/log", 1), " ")
	if !strings.Contains(line, "-netdev user") || !strings.Contains(line, "-cpu host") {
		t.Errorf("no network card or not the host's CPU: %s", line)
	}
}

func TestChooseCPUs(t *testing.T) {
	const old, fixed = "QEMU emulator version 7.2.22 (Debian 1:7.2)", "QEMU emulator version 10.0.2"
	cases := []struct {
		asked          int
		accel, version string
		want           int
	}{
		{0, "tcg", old, 1}, {0, "tcg", fixed, 2}, {0, "kvm", old, 2}, {4, "tcg", old, 4},
		{0, "tcg", "QEMU emulator version 8.1.0", 2}, {0, "tcg", "unreadable", 1},
	}
	for _, c := range cases {
		if got := chooseCPUs(c.asked, c.accel, c.version); got != c.want {
			t.Errorf("asked %d, %s, %s: %d CPUs, want %d", c.asked, c.accel, c.version, got, c.want)
		}
	}
}

func TestSlotsAreExclusive(t *testing.T) {
	cache := t.TempDir()
	first, err := machineSlot(cache, 2, []string{"first"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := machineSlot(cache, 2, []string{"second"})
	if err != nil {
		t.Fatal(err)
	}
	if holders := slotHolders(cache); !strings.Contains(holders, "first") || !strings.Contains(holders, "second") {
		t.Errorf("holders %q, want first and second", holders)
	}
	third := make(chan error, 1)
	go func() {
		slot, err := machineSlot(cache, 2, []string{"third"})
		if err == nil {
			slot.release()
		}
		third <- err
	}()
	select {
	case err := <-third:
		t.Fatalf("a third of two slots: error %v", err)
	default:
	}
	first.release()
	if err := <-third; err != nil {
		t.Error(err)
	}
	second.release()
}

func TestProjectRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(moduleLine+"\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := projectRoot(filepath.Join(dir, "a", "b")); got != dir {
		t.Errorf("root %q, want %q", got, dir)
	}
	if got := projectRoot("/"); got != "" {
		t.Errorf("root %q above /, want none", got)
	}
}
