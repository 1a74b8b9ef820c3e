package standin

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// Test stands in for a test. The zero value is ready. Its methods must not be called at the same time.
type Test struct {
	testing.TB
	undo   []func()
	errors []error
}

var _ testing.TB = (*Test)(nil)

// Build calls f with the stand-in and returns what f reported.
func (b *Test) Build(f func(testing.TB)) error {
	done := make(chan struct{})
	go func() { // a goroutine of its own, for Fatal to end
		defer close(done)
		f(b)
	}()
	<-done
	return b.reported()
}

// TearDown undoes what was built, the last first, and returns what was reported meanwhile. Doing so twice is fine.
func (b *Test) TearDown() error {
	for _, undo := range slices.Backward(b.undo) {
		undo()
	}
	b.undo = nil
	return b.reported()
}

// reported returns the errors since it was last called.
func (b *Test) reported() error {
	err := errors.Join(b.errors...)
	b.errors = nil
	return err
}

// Helper implements testing.TB.
func (b *Test) Helper() {}

// Cleanup implements testing.TB.
func (b *Test) Cleanup(undo func()) { b.undo = append(b.undo, undo) }

// Error implements testing.TB.
func (b *Test) Error(args ...any) { b.errors = append(b.errors, errors.New(fmt.Sprint(args...))) }

// Errorf implements testing.TB.
func (b *Test) Errorf(format string, args ...any) { b.Error(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (b *Test) Fatal(args ...any) {
	b.Error(args...)
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (b *Test) Fatalf(format string, args ...any) { b.Fatal(fmt.Sprintf(format, args...)) }
