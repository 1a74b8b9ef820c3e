package main

import (
	"context"
	"net/netip"
	"time"
)

// view observes in the kernel what a contestant does, without asking the contestant and cheaply enough not to slow it down.
type view interface {
	// awaitAll returns when the last object of the benchmark's Services appeared.
	awaitAll(ctx context.Context, o options) (time.Time, error)
	// awaitEndpoints waits until so many endpoints get new connections of a Service. awaitAll has to come before.
	awaitEndpoints(ctx context.Context, s target, want int) error
	close()
}

// target is a Service of the benchmark.
type target struct {
	name      string
	clusterIP netip.Addr
}

// changeInterval is how often the kernel is asked whether a change has arrived.
const changeInterval = 2 * time.Millisecond
