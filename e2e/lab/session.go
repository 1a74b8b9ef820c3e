package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// session is the host's end of one run: it copies the streams and carries signals and the time limit.
type session struct {
	opt     options
	out     *frameWriter
	in      io.Reader
	started time.Time     // when the machine was started
	ready   chan struct{} // closed when the command starts
	running atomic.Bool
	taken   chan struct{} // one item for each input frame consumed
}

func newSession(conn io.ReadWriter, opt options, started time.Time) *session {
	return &session{
		opt: opt, out: &frameWriter{w: conn}, in: bufio.NewReaderSize(conn, 1<<16), started: started,
		ready: make(chan struct{}), taken: make(chan struct{}, 1),
	}
}

// outcome is how a run ended.
type outcome struct {
	status int
	err    error
}

// run copies until the command has ended, a second signal or the time limit asks for the machine's end, or
// QEMU has gone.
func (s *session) run(signals <-chan os.Signal, gone <-chan struct{}) (int, error) {
	ended := make(chan outcome, 1)
	go func() {
		status, err := s.receive()
		ended <- outcome{status, err}
	}()
	boot, ready := time.After(bootLimit), s.ready
	var limit, kill <-chan time.Time
	stopped := outcome{}
	for {
		select {
		case result := <-ended:
			return s.finish(result, stopped, gone)
		case <-ready:
			ready, boot, limit = nil, nil, time.After(s.opt.timeout)
			s.opt.logf("the command starts %.1f s after QEMU", time.Since(s.started).Seconds())
			go s.sendInput(os.Stdin)
		case <-boot:
			return 0, fmt.Errorf("the virtual machine did not start the command within %v", bootLimit)
		case <-limit:
			stopped = outcome{exitTimeout, fmt.Errorf("%w after %v: the command got SIGQUIT, then its machine was stopped", errTimeout, s.opt.timeout)}
			s.signal(syscall.SIGQUIT)
			kill = time.After(killDelay)
		case sig := <-signals:
			number := sig.(syscall.Signal)
			if kill != nil || !s.running.Load() {
				return exitSignalShift + int(number), nil
			}
			stopped = outcome{status: exitSignalShift + int(number)}
			s.signal(number)
			kill = time.After(killDelay)
		case <-kill:
			return stopped.status, stopped.err
		}
	}
}

// finish decides what counts when the stream has ended: a time limit that was hit, the command's own status, or
// what made the machine fall silent.
func (s *session) finish(result, stopped outcome, gone <-chan struct{}) (int, error) {
	if errors.Is(stopped.err, errTimeout) {
		return stopped.status, stopped.err
	}
	if !errors.Is(result.err, io.EOF) && !errors.Is(result.err, io.ErrUnexpectedEOF) {
		s.opt.logf("done %.1f s after QEMU started", time.Since(s.started).Seconds())
		return result.status, result.err
	}
	select {
	case <-gone: // so that its log is complete
	case <-time.After(killDelay):
	}
	return 0, errors.New("the virtual machine ended before the command did")
}

// receive writes out what the command prints, and returns its exit status.
func (s *session) receive() (int, error) {
	for {
		kind, payload, err := readFrame(s.in)
		if err != nil {
			return 0, err
		}
		switch kind {
		case frameReady:
			s.running.Store(true)
			close(s.ready)
		case frameStdout:
			_, err = os.Stdout.Write(payload)
		case frameStderr:
			_, err = os.Stderr.Write(payload)
		case frameTaken:
			s.taken <- struct{}{}
		case frameFailed:
			return 0, errors.New("in the virtual machine: " + string(payload))
		case frameExit:
			if len(payload) != 4 {
				return 0, fmt.Errorf("exit frame of %d bytes, want 4", len(payload))
			}
			return int(binary.BigEndian.Uint32(payload)), nil
		default:
			return 0, fmt.Errorf("unknown frame %q from the virtual machine", kind)
		}
		if errors.Is(err, syscall.EPIPE) {
			// Nobody reads any more, which would have ended a command on the host like this.
			return exitSignalShift + int(syscall.SIGPIPE), nil
		}
		if err != nil {
			return 0, fmt.Errorf("pass output on: %w", err)
		}
	}
}

// sendInput passes standard input on, one frame at a time: the next when the last is consumed.
func (s *session) sendInput(input io.Reader) {
	buffer := make([]byte, framePayload)
	for {
		n, err := input.Read(buffer)
		if n > 0 {
			if s.out.send(frameInput, buffer[:n]) != nil {
				return // the machine has ended, which receive sees too
			}
			<-s.taken
		}
		if err != nil {
			// Input that cannot be read ends for the command as well.
			_ = s.out.send(frameInput, nil)
			return
		}
	}
}

func (s *session) signal(number syscall.Signal) {
	// Should this fail, killDelay ends the machine instead.
	_ = s.out.send(frameSignal, []byte{byte(number)})
}
