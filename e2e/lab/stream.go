package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// The host and the first process of the virtual machine talk over one virtio-serial port in frames: a kind
// byte, a big-endian 32-bit length, the payload. Everything the command prints precedes the exit
// frame in the same stream, so that the host has it all when it sees that frame and may stop the machine.

// frameKind says what a frame's payload is.
type frameKind byte

const (
	frameReady  frameKind = 'r' // guest: the command starts now; no payload
	frameStdout frameKind = 'o' // guest: bytes of standard output
	frameStderr frameKind = 'e' // guest: bytes of standard error
	frameTaken  frameKind = 'a' // guest: the last input frame is consumed; no payload
	frameFailed frameKind = 'm' // guest: why lab itself failed in the machine
	frameExit   frameKind = 'x' // guest: exit status as 32 bits; the last frame
	frameInput  frameKind = 'i' // host: bytes of standard input, empty at its end
	frameSignal frameKind = 's' // host: signal number, one byte
)

const (
	frameHeader = 5
	// framePayload keeps a frame within the 32 KiB that the port's driver takes at once.
	framePayload = 32<<10 - frameHeader
)

// frameWriter sends frames from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) send(kind frameKind, payload []byte) error {
	frame := make([]byte, frameHeader, frameHeader+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	frame = append(frame, payload...)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(frame)
	return err
}

// pump sends everything r yields as frames of one kind, until its end.
func (f *frameWriter) pump(kind frameKind, r io.Reader) error {
	buffer := make([]byte, framePayload)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			if err := f.send(kind, buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readFrame returns the next frame; io.EOF between two frames only.
func readFrame(r io.Reader) (frameKind, []byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[1:])
	if size > framePayload {
		return 0, nil, fmt.Errorf("frame %q of %d bytes, want at most %d", header[0], size, framePayload)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return frameKind(header[0]), payload, nil
}
