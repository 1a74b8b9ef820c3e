package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Offsets in the set-up header of a bzImage: Documentation/arch/x86/boot.rst of the kernel.
const (
	setupSectorsAt  = 0x1f1
	headerMagicAt   = 0x202
	headerMagic     = "HdrS"
	payloadOffsetAt = 0x248
	payloadLengthAt = 0x24c
	sectorSize      = 512
	sizeTrailer     = 4 // the build appends the uncompressed size to the payload
)

// pvhNote is the type of the Xen ELF note with a kernel's PVH entry point, by which QEMU starts an
// uncompressed kernel.
const pvhNote = 18

var errNotUnpackable = errors.New("kernel image cannot be unpacked here")

// unpackKernel writes the ELF kernel inside a bzImage to target: unpacking it once here saves the emulated
// processor more than a second in each boot. It returns errNotUnpackable for images, tools
// or kernels that do not allow it; QEMU then boots the bzImage.
func unpackKernel(image, target string) error {
	data, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	payload, err := kernelPayload(data)
	if err != nil {
		return err
	}
	tool := ""
	switch {
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		tool = "zstd"
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		tool = "xz"
	default:
		return fmt.Errorf("%w: unknown compression % x", errNotUnpackable, payload[:4])
	}
	cmd := exec.Command(tool, "-q", "-d", "-c")
	cmd.Stdin = bytes.NewReader(payload)
	kernel, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errNotUnpackable, tool, err)
	}
	if !hasPVHEntry(kernel) {
		return fmt.Errorf("%w: no PVH entry point", errNotUnpackable)
	}
	return os.WriteFile(target, kernel, 0o644)
}

// kernelPayload returns the compressed kernel inside a bzImage.
func kernelPayload(image []byte) ([]byte, error) {
	if len(image) < payloadLengthAt+4 || string(image[headerMagicAt:headerMagicAt+len(headerMagic)]) != headerMagic {
		return nil, fmt.Errorf("%w: no bzImage", errNotUnpackable)
	}
	sectors := uint64(image[setupSectorsAt])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*sectorSize + uint64(binary.LittleEndian.Uint32(image[payloadOffsetAt:]))
	end := start + uint64(binary.LittleEndian.Uint32(image[payloadLengthAt:]))
	if end > uint64(len(image)) || end < start+2*sizeTrailer {
		return nil, fmt.Errorf("%w: payload of bytes %d to %d in an image of %d", errNotUnpackable, start, end, len(image))
	}
	return image[start : end-sizeTrailer], nil
}

func hasPVHEntry(kernel []byte) bool {
	file, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return false
	}
	for _, program := range file.Progs {
		if program.Type != elf.PT_NOTE {
			continue
		}
		notes := make([]byte, program.Filesz)
		if _, err := program.ReadAt(notes, 0); err == nil && hasNote(notes, "Xen\x00", pvhNote) {
			return true
		}
	}
	return false
}

// hasNote walks ELF notes: three little-endian words (name size, description size, type), then name and
// description, each padded to 4 bytes.
func hasNote(notes []byte, owner string, kind uint32) bool {
	for len(notes) >= 12 {
		nameSize := uint64(binary.LittleEndian.Uint32(notes))
		descSize := uint64(binary.LittleEndian.Uint32(notes[4:]))
		found := binary.LittleEndian.Uint32(notes[8:])
		notes = notes[12:]
		size := (nameSize+3)&^3 + (descSize+3)&^3
		if size > uint64(len(notes)) {
			return false
		}
		if found == kind && string(notes[:nameSize]) == owner {
			return true
		}
		notes = notes[size:]
	}
	return false
}
