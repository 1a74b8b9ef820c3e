package main

import (
	"time"
)

// figure is a number taken from a measurement, and whether it was measured.
type figure func(m *measurement) (value float64, measured bool)

// row is one line of a table: a figure of each contestant, the median of its rounds.
type row struct {
	what   string
	figure figure
	format func(value float64) string
}

// rows are the lines of the table of one size.
func rows() []row {
	return []row{
		{"cold start: process start → last object in the kernel", coldTime, duration},
		{"its kernel part: rounds of the daemon, sends of the floor", kernelPart, duration},
		{"CPU of the cold start", seconds(func(m *measurement) time.Duration { return m.Cold.CPU }), duration},
		{"restart on a correct kernel: process start → nothing to do; of the floor: objects listed, kernel read", warmTime, duration},
		{"CPU of the restart", seconds(func(m *measurement) time.Duration { return m.Warm.CPU }), duration},
		{"messages of the restart that write, or try to", writes, plain},
		{"one endpoint change, API write → kernel: median", changeMedian, duration},
		{"one endpoint change: p99", ofLags(single, 0.99), duration},
		{"one endpoint change: how many were made", func(m *measurement) (float64, bool) { return float64(m.Single.Changes), m.Single.Changes > 0 }, plain},
		{"one endpoint change: CPU", changeCPU, duration},
		{"one endpoint change: heap objects", perChange(single, func(l load) float64 { return l.Heap.Objects }), plain},
		{"one endpoint change: heap, KiB", perChange(single, func(l load) float64 { return l.Heap.Bytes / 1024 }), plain},
		{"one endpoint change: netlink messages", perTraced(func(t trace) int { return t.Messages }), tenths},
		{"one endpoint change: netlink dumps", perTraced(func(t trace) int { return t.Dumps + t.Reads }), tenths},
		{"one endpoint change: system calls", perTraced(func(t trace) int { return t.Calls }), plain},
		{"one endpoint change: processes started", perTraced(func(t trace) int { return t.Processes }), tenths},
		{"burst: first API write → all in the kernel", ofLags(burst, 1), duration},
		{"burst: CPU", seconds(func(m *measurement) time.Duration { return m.Burst.CPU }), duration},
		{"stream of changes: median lag", ofLags(stream, 0.5), duration},
		{"stream of changes: longest lag", ofLags(stream, 1), duration},
		{"stream of changes: CPU per change", perChange(stream, func(l load) float64 { return l.CPU.Seconds() }), duration},
		{"nothing to do: CPU per minute", idleCPU, duration},
		{"nothing to do: wake-ups per minute", perMinute(steady, func(i idle) float64 { return float64(i.Wakeups) }), plain},
		{"the same without audits: CPU per minute", perMinute(quiet, func(i idle) float64 { return i.CPU.Seconds() }), duration},
		{"the same without audits: wake-ups per minute", perMinute(quiet, func(i idle) float64 { return float64(i.Wakeups) }), plain},
		{"resident memory in the end, MiB", residentMiB, plain},
		{"resident memory, most, MiB", mebibytes(func(m *measurement) int { return m.Memory.Most }), plain},
	}
}

// The figures that more than one part of the report shows.

func coldTime(m *measurement) (float64, bool) {
	return seconds(func(m *measurement) time.Duration { return m.Cold.Took })(m)
}

func kernelPart(m *measurement) (float64, bool) {
	return seconds(func(m *measurement) time.Duration { return m.Cold.Rounds })(m)
}

func warmTime(m *measurement) (float64, bool) {
	return seconds(func(m *measurement) time.Duration { return m.Warm.Took })(m)
}

func writes(m *measurement) (float64, bool) {
	return float64(m.Traced.Restart.Writes), m.Traced.Restart.Calls > 0
}

func changeMedian(m *measurement) (float64, bool) { return ofLags(single, 0.5)(m) }

func changeP99(m *measurement) (float64, bool) { return ofLags(single, 0.99)(m) }

func changeCPU(m *measurement) (float64, bool) {
	return perChange(single, func(l load) float64 { return l.CPU.Seconds() })(m)
}

func idleCPU(m *measurement) (float64, bool) {
	return perMinute(steady, func(i idle) float64 { return i.CPU.Seconds() })(m)
}

func residentMiB(m *measurement) (float64, bool) {
	return mebibytes(func(m *measurement) int { return m.Memory.Settled })(m)
}

func single(m *measurement) load { return m.Single }
func burst(m *measurement) load  { return m.Burst }
func stream(m *measurement) load { return m.Stream }
func steady(m *measurement) idle { return m.Steady }
func quiet(m *measurement) idle  { return m.Quiet }

func seconds(of func(*measurement) time.Duration) figure {
	return func(m *measurement) (float64, bool) { return of(m).Seconds(), of(m) > 0 }
}

func mebibytes(of func(*measurement) int) figure {
	return func(m *measurement) (float64, bool) { return float64(of(m)) / 1024, of(m) > 0 }
}

func ofLags(of func(*measurement) load, share float64) figure {
	return func(m *measurement) (float64, bool) { return quantileOf(of(m).Lags, share) }
}

func perChange(of func(*measurement) load, what func(load) float64) figure {
	return func(m *measurement) (float64, bool) {
		l := of(m)
		return what(l) / float64(max(1, l.Changes)), l.Changes > 0
	}
}

func perMinute(of func(*measurement) idle, what func(idle) float64) figure {
	return func(m *measurement) (float64, bool) {
		minutes := of(m).Lasted.Minutes()
		return what(of(m)) / max(minutes, 1e-9), minutes > 0
	}
}

// perTraced is the mean of the changes of both kinds under strace.
func perTraced(count func(trace) int) figure {
	return func(m *measurement) (float64, bool) {
		changes := 2 * m.Traced.Changes
		return float64(count(m.Traced.Added)+count(m.Traced.Removed)) / float64(max(1, changes)), changes > 0
	}
}
