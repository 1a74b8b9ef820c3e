package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// builder stands in for the test that package topology builds for. It has the methods that are called there; any other
// would find the nil interface.
type builder struct {
	testing.TB
	cleanups []func()
	failures []error
}

// build calls f and returns what it reported.
func (b *builder) build(f func(testing.TB)) error {
	done := make(chan struct{})
	go func() { // for Fatal to end
		defer close(done)
		f(b)
	}()
	<-done
	return errors.Join(b.failures...)
}

// tearDown undoes what was built, the last first.
func (b *builder) tearDown() {
	for _, undo := range slices.Backward(b.cleanups) {
		undo()
	}
	b.cleanups = nil
}

// Helper implements testing.TB.
func (b *builder) Helper() {}

// Cleanup implements testing.TB.
func (b *builder) Cleanup(undo func()) { b.cleanups = append(b.cleanups, undo) }

// Error implements testing.TB.
func (b *builder) Error(args ...any) {
	b.failures = append(b.failures, errors.New(fmt.Sprint(args...)))
}

// Errorf implements testing.TB.
func (b *builder) Errorf(format string, args ...any) { b.Error(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (b *builder) Fatal(args ...any) {
	b.Error(args...)
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (b *builder) Fatalf(format string, args ...any) { b.Fatal(fmt.Sprintf(format, args...)) }
