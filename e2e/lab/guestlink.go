package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// portName is the virtio-serial port between the host and the first process of the machine.
const portName = "lab"

// openPort opens the port by its name. The file blocks: what was written, the host has or will have.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(name)) != portName {
			continue
		}
		device := "/dev/" + filepath.Base(filepath.Dir(path))
		fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", device, err)
		}
		return os.NewFile(uintptr(fd), device), nil
	}
	return nil, fmt.Errorf("no virtio-serial port %q among %d", portName, len(names))
}

// hostLink is the guest's end of the port.
type hostLink struct {
	out *frameWriter
	in  io.Reader
}

// failed tells the host why lab failed in the machine, then waits to be stopped. It returns an error only if
// the host cannot be told.
func (h *hostLink) failed(reason error) error {
	if err := h.out.send(frameFailed, []byte(reason.Error())); err != nil {
		return fmt.Errorf("%w; and the host cannot be told: %w", reason, err)
	}
	return h.exited(exitLabFailed)
}

// exited sends the exit status and waits for the host to stop the machine.
func (h *hostLink) exited(status int) error {
	unix.Sync() // files that the command mapped and changed below shared directories
	var payload [4]byte
	binary.BigEndian.PutUint32(payload[:], uint32(status))
	if err := h.out.send(frameExit, payload[:]); err != nil {
		return fmt.Errorf("report exit status %d: %w", status, err)
	}
	for {
		_ = unix.Pause() // always EINTR
	}
}

// run starts the command with its streams on the link and reports its end.
func (h *hostLink) run(work job, oneOutput bool) error {
	pipes, err := newPipes(oneOutput)
	if err != nil {
		return h.failed(err)
	}
	work.files = pipes.command
	work.attr.Setsid = true
	if err := h.out.send(frameReady, nil); err != nil {
		return err
	}
	pid, err := work.start()
	pipes.closeCommandSide()
	if err != nil {
		return h.notStarted(err)
	}
	var pumps sync.WaitGroup
	for kind, reader := range pipes.outputs {
		// A pump ends early only if the port fails, which the exit frame then reports.
		pumps.Go(func() { _ = h.out.pump(kind, reader) })
	}
	go h.receive(pid, pipes.input)
	status, err := waitFor(pid)
	if err != nil {
		return h.failed(err)
	}
	// Whatever the command left behind ends with it, so that the pipes do.
	_ = unix.Kill(-1, unix.SIGKILL) // ESRCH if nothing is left
	pumps.Wait()
	return h.exited(status)
}

func (h *hostLink) notStarted(err error) error {
	var start *startError
	if !errors.As(err, &start) {
		return h.failed(err)
	}
	if err := h.out.send(frameStderr, []byte("lab: "+err.Error()+"\n")); err != nil {
		return err
	}
	return h.exited(start.status)
}

// receive hands the host's input and signals to the command until the host goes away.
func (h *hostLink) receive(pid int, input *os.File) {
	for {
		kind, payload, err := readFrame(h.in)
		if err != nil {
			return
		}
		switch kind {
		case frameInput:
			h.input(payload, input)
		case frameSignal:
			signalCommand(pid, true, syscall.Signal(payload[0]))
		}
	}
}

// input writes in the background, because a command that does not read must still get signals. The host
// sends no more before it is told that this much is taken.
func (h *hostLink) input(payload []byte, input *os.File) {
	if len(payload) == 0 {
		_ = input.Close() // a pipe's end loses nothing
		return
	}
	go func() {
		// A command that has closed its input does not want the rest.
		_, _ = input.Write(payload)
		_ = h.out.send(frameTaken, nil) // a broken port ends the machine anyway
	}()
}

// commandPipes are the command's standard streams and the link's ends of them.
type commandPipes struct {
	command [3]*os.File
	input   *os.File
	outputs map[frameKind]*os.File
}

func newPipes(oneOutput bool) (*commandPipes, error) {
	p := &commandPipes{outputs: map[frameKind]*os.File{}}
	var err error
	if p.command[0], p.input, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.outputs[frameStdout], p.command[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	if oneOutput {
		p.command[2] = p.command[1]
		return p, nil
	}
	p.outputs[frameStderr], p.command[2], err = os.Pipe()
	return p, err
}

func (p *commandPipes) closeCommandSide() {
	for _, file := range p.command {
		_ = file.Close() // the command has its own copy; one file may be here twice
	}
}
