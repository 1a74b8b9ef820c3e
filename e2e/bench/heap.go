package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// metricsURL is where the daemon and kube-proxy serve their metrics by default, and Go's beside them.
const metricsURL = "http://127.0.0.1:10249/metrics"

// Counters of Go's runtime.
const (
	heapObjects = "go_memstats_mallocs_total"
	heapBytes   = "go_memstats_alloc_bytes_total"
)

// spending begins to count what the process spends, and returns a function that says how much that was. Reading the metrics
// takes from the heap, too; what one reading takes is found out beforehand and left out.
func (p *process) spending(ctx context.Context) (func(context.Context) (time.Duration, heap, error), error) {
	if _, err := readHeap(ctx); err != nil { // which opens a connection, and takes more than the next ones
		return nil, err
	}
	first, err := readHeap(ctx)
	if err != nil {
		return nil, err
	}
	begun, err := readHeap(ctx)
	if err != nil {
		return nil, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return nil, err
	}
	reading := begun.minus(first)
	return func(ctx context.Context) (time.Duration, heap, error) {
		now, err := p.cpu()
		if err != nil {
			return 0, heap{}, err
		}
		ended, err := readHeap(ctx)
		return now - cpu, ended.minus(begun).minus(reading), err
	}, nil
}

func (h heap) minus(other heap) heap { return heap{h.Objects - other.Objects, h.Bytes - other.Bytes} }

// readHeap asks the program that runs.
func readHeap(ctx context.Context) (heap, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, metricsURL, nil)
	if err != nil {
		return heap{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return heap{}, err
	}
	defer func() { _ = response.Body.Close() }()
	return parseHeap(response.Body)
}

// parseHeap finds the counters among metrics in Prometheus' text format.
func parseHeap(metrics io.Reader) (heap, error) {
	var h heap
	found := 0
	scanner := bufio.NewScanner(metrics)
	for scanner.Scan() {
		name, value, _ := strings.Cut(scanner.Text(), " ")
		into := map[string]*float64{heapObjects: &h.Objects, heapBytes: &h.Bytes}[name]
		if into == nil {
			continue
		}
		if _, err := fmt.Sscan(value, into); err != nil {
			return heap{}, fmt.Errorf("read %s: %w", name, err)
		}
		found++
	}
	if found != 2 && scanner.Err() == nil {
		return heap{}, fmt.Errorf("%d of %s and %s among the metrics, want both", found, heapObjects, heapBytes)
	}
	return h, scanner.Err()
}
