package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// builder stands in for the test that topology and backend want to build for. It has the methods that they call; any
// other would find the nil interface and stop the demo with a stack trace.
type builder struct {
	testing.TB
	undo   []func()
	errors []error
}

// build calls f with the builder and returns what f reported.
func (b *builder) build(f func(testing.TB)) error {
	done := make(chan struct{})
	go func() { // a goroutine of its own, for Fatal to end
		defer close(done)
		f(b)
	}()
	<-done
	return b.reported()
}

// tearDown undoes what was built, the last first.
func (b *builder) tearDown() error {
	for _, undo := range slices.Backward(b.undo) {
		undo()
	}
	b.undo = nil
	return b.reported()
}

// reported returns the errors since it was last called.
func (b *builder) reported() error {
	err := errors.Join(b.errors...)
	b.errors = nil
	return err
}

// Helper implements testing.TB.
func (b *builder) Helper() {}

// Cleanup implements testing.TB.
func (b *builder) Cleanup(undo func()) { b.undo = append(b.undo, undo) }

// Error implements testing.TB.
func (b *builder) Error(args ...any) { b.errors = append(b.errors, errors.New(fmt.Sprint(args...))) }

// Errorf implements testing.TB.
func (b *builder) Errorf(format string, args ...any) { b.Error(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (b *builder) Fatal(args ...any) {
	b.Error(args...)
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (b *builder) Fatalf(format string, args ...any) { b.Fatal(fmt.Sprintf(format, args...)) }
