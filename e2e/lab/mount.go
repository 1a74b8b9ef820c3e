package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one mount(2) to make.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// mountAll makes the mounts below root, in order, with their directories. One that is there already, as the
// kernel's own /dev is, stays.
func mountAll(root string, mounts []mount) error {
	for _, m := range mounts {
		target := root + m.target
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.source, target, m.kind, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.kind+m.source, target, err)
		}
	}
	return nil
}
