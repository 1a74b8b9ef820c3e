package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const searchOutput = `linux-image-6.1.0-9-cloud-amd64-unsigned - Linux 6.1 for x86-64 cloud
linux-image-cloud-amd64 - Linux for x86-64 cloud (meta-package)
linux-image-6.12.117+deb12-cloud-amd64-dbg - Debug symbols for linux-image-6.12.117+deb12-cloud-amd64
linux-image-6.12-cloud-amd64 - Linux for x86-64 cloud (meta-package)
linux-image-6.12.117+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-image-6.12.117+deb12-cloud-amd64-unsigned - Linux 6.12 for x86-64 cloud
linux-image-6.12.99+deb12-cloud-amd64-unsigned - Linux 6.12 for x86-64 cloud
linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
`

func TestChooseKernelTakesTheNewestUnsigned(t *testing.T) {
	names := packageNames(searchOutput)
	want := "linux-image-6.12.117+deb12-cloud-amd64-unsigned"
	for range 2 {
		if got, ok := chooseKernel(names); !ok || got != want {
			t.Errorf("chose %q, want %q", got, want)
		}
		slices.Reverse(names)
	}
}

func TestChooseKernelComparesNumbers(t *testing.T) {
	got, _ := chooseKernel([]string{"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-10-cloud-amd64"})
	if want := "linux-image-6.1.0-10-cloud-amd64"; got != want {
		t.Errorf("chose %q, want %q", got, want)
	}
	if got, ok := chooseKernel([]string{"linux-image-cloud-amd64", ".unfinished-1", "linux-image-6.8.0-31-generic"}); ok {
		t.Errorf("chose %q, want none", got)
	}
}

func TestOpenKernelPrefersTheUnpackedImage(t *testing.T) {
	tree := t.TempDir()
	write := func(name string) {
		t.Helper()
		path := filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openKernel(tree); err == nil {
		t.Error("an empty tree passed for a kernel")
	}
	write("boot/vmlinuz-6.12.1-cloud")
	if _, err := openKernel(tree); err == nil || !strings.Contains(err.Error(), "depmod") {
		t.Errorf("error %v, want advice to run depmod", err)
	}
	write("lib/modules/6.12.1-cloud/modules.dep")
	k, err := openKernel(tree)
	if err != nil || k.version != "6.12.1-cloud" || filepath.Base(k.image) != "vmlinuz-6.12.1-cloud" {
		t.Errorf("kernel %+v, error %v", k, err)
	}
	write("boot/vmlinux-6.12.1-cloud")
	if k, err = openKernel(tree); err != nil || filepath.Base(k.image) != "vmlinux-6.12.1-cloud" {
		t.Errorf("kernel %+v, error %v; want the unpacked image", k, err)
	}
}

func TestKernelPayload(t *testing.T) {
	image := make([]byte, 3*sectorSize)
	image[setupSectorsAt] = 1
	copy(image[headerMagicAt:], headerMagic)
	binary.LittleEndian.PutUint32(image[payloadOffsetAt:], 16)
	binary.LittleEndian.PutUint32(image[payloadLengthAt:], 12)
	copy(image[2*sectorSize+16:], "compressSIZE")
	got, err := kernelPayload(image)
	if err != nil || string(got) != "compress" {
		t.Errorf("payload %q, error %v", got, err)
	}
	binary.LittleEndian.PutUint32(image[payloadLengthAt:], 4096)
	for name, bad := range map[string][]byte{"too long": image, "short": image[:600], "empty": nil, "zeros": make([]byte, 2048)} {
		if _, err := kernelPayload(bad); !errors.Is(err, errNotUnpackable) {
			t.Errorf("%s: error %v, want errNotUnpackable", name, err)
		}
	}
}

func TestHasNote(t *testing.T) {
	note := func(owner string, kind uint32, description string) []byte {
		out := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(description)))
		out = binary.LittleEndian.AppendUint32(out, kind)
		pad := func(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }
		return append(out, pad(owner)+pad(description)...)
	}
	notes := slices.Concat(note("Linux\x00", 257, "func!"), note("Xen\x00", 18, "entry!!!"))
	if !hasNote(notes, "Xen\x00", pvhNote) {
		t.Error("note not found")
	}
	if hasNote(notes, "Xen\x00", 17) || hasNote(notes[:30], "Xen\x00", pvhNote) || hasNote(nil, "", 0) {
		t.Error("found a note that is not there")
	}
}

func TestParseModulesDep(t *testing.T) {
	needs, err := parseModulesDep(strings.NewReader("kernel/net/ip_vs-lc.ko.xz: kernel/net/ip_vs.ko kernel/lib/crc.ko\nkernel/lib/crc.ko:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := needs["ip_vs_lc"], []string{"kernel/net/ip_vs-lc.ko.xz", "kernel/net/ip_vs.ko", "kernel/lib/crc.ko"}; !slices.Equal(got, want) {
		t.Errorf("ip_vs_lc needs %q, want %q", got, want)
	}
	if got := needs["crc"]; len(got) != 1 {
		t.Errorf("crc needs %q, want itself", got)
	}
	if _, err := parseModulesDep(strings.NewReader("nonsense\n")); err == nil {
		t.Error("nonsense passed for modules.dep")
	}
}
