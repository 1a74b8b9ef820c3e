package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one line of a table: a figure of each contestant, the median of its rounds.
type row struct {
	what   string
	figure func(m measurement) (value float64, measured bool)
	format func(value float64) string
}

// rows are the lines of a table.
func rows() []row {
	return []row{
		{"cold start: process start → last object in the kernel", seconds(func(m measurement) time.Duration { return m.Cold.Took }), duration},
		{"its kernel part: rounds of the daemon, sends of the floor", seconds(func(m measurement) time.Duration { return m.Cold.Rounds }), duration},
		{"CPU of the cold start", seconds(func(m measurement) time.Duration { return m.Cold.CPU }), duration},
		{"restart on a correct kernel: process start → nothing to do", seconds(func(m measurement) time.Duration { return m.Warm.Took }), duration},
		{"one endpoint change, API write → kernel: median", ofLags(single, 0.5), duration},
		{"one endpoint change: p99", ofLags(single, 0.99), duration},
		{"one endpoint change: CPU", perChange(single), duration},
		{"burst: first API write → all in the kernel", ofLags(burst, 1), duration},
		{"burst: CPU", seconds(func(m measurement) time.Duration { return m.Burst.CPU }), duration},
		{"stream of changes: median lag", ofLags(stream, 0.5), duration},
		{"stream of changes: longest lag", ofLags(stream, 1), duration},
		{"stream of changes: CPU per change", perChange(stream), duration},
		{"nothing to do: CPU per minute", perMinute(func(m idle) float64 { return m.CPU.Seconds() }), duration},
		{"nothing to do: wake-ups per minute", perMinute(func(m idle) float64 { return float64(m.Wakeups) }), plain},
		{"resident memory after the start", mebibytes(func(m measurement) int { return m.Memory.AfterStart }), plain},
		{"resident memory, most", mebibytes(func(m measurement) int { return m.Memory.Most }), plain},
	}
}

// table shows the medians of all rounds in Markdown: for other contestants also how many times this project's figure they are.
func table(o options, all []contestant, measured []measurement) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## %d Services × %d endpoints\n\n| |", o.Services, o.Endpoints)
	for _, c := range all {
		fmt.Fprintf(&out, " %s |", c.name)
	}
	fmt.Fprintf(&out, "\n| --- |%s\n", strings.Repeat(" --- |", len(all)))
	for _, r := range rows() {
		fmt.Fprintf(&out, "| %s |", r.what)
		base, _ := r.median(measured, self)
		for _, c := range all {
			fmt.Fprintf(&out, " %s |", r.cell(measured, c.name, base))
		}
		out.WriteString("\n")
	}
	rounds := make([]string, len(all))
	for i, c := range all {
		rounds[i] = fmt.Sprintf("%s %d", c.name, len(of(measured, c.name)))
	}
	fmt.Fprintf(&out, "\nMedians of rounds: %s. In brackets: times the figure of %s.\n", strings.Join(rounds, ", "), self)
	out.WriteString(traces(o, of(measured, self)))
	return out.String()
}

// cell is the figure of a contestant and its ratio to the base.
func (r row) cell(measured []measurement, name string, base float64) string {
	value, ok := r.median(measured, name)
	switch {
	case !ok:
		return "–"
	case name == self || base <= 0:
		return r.format(value)
	}
	return fmt.Sprintf("%s (%.3g)", r.format(value), value/base)
}

func (r row) median(measured []measurement, name string) (float64, bool) {
	var values []float64
	for _, m := range of(measured, name) {
		if value, ok := r.figure(m); ok {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	return quantile(values, 0.5), len(values) > 0
}

// of returns the measurements of a contestant.
func of(measured []measurement, name string) []measurement {
	var out []measurement
	for _, m := range measured {
		if m.Contestant == name {
			out = append(out, m)
		}
	}
	return out
}

// traces says what should be zero, and what the system calls of a change are.
func traces(o options, rounds []measurement) string {
	if len(rounds) == 0 || o.Traced == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nOf %s, the most of any round: %d operations in the restart.", self,
		mostOf(rounds, func(m measurement) int { return m.Warm.Operations }))
	changes := min(o.Traced, o.Services)
	for _, kind := range []struct {
		what string
		of   func(measurement) trace
	}{{"added", func(m measurement) trace { return m.Added }}, {"removed", func(m measurement) trace { return m.Removed }}} {
		most := func(count func(trace) int) int {
			return mostOf(rounds, func(m measurement) int { return count(kind.of(m)) })
		}
		fmt.Fprintf(&out, " In %d changes by an endpoint %s: %d processes, %d dumps, %d system calls, %d netlink sends, %d reads of one virtual server.",
			changes, kind.what, most(func(t trace) int { return t.Processes }), most(func(t trace) int { return t.Dumps }),
			most(func(t trace) int { return t.Calls }), most(func(t trace) int { return t.Sends }), most(func(t trace) int { return t.Reads }))
		for _, call := range kind.of(rounds[0]).Examples {
			fmt.Fprintf(&out, "\n    %s", call)
		}
	}
	return out.String() + "\n"
}

func duration(value float64) string {
	d := time.Duration(value * float64(time.Second))
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func plain(value float64) string { return fmt.Sprintf("%.0f", value) }

func seconds(of func(measurement) time.Duration) func(measurement) (float64, bool) {
	return func(m measurement) (float64, bool) { return of(m).Seconds(), of(m) > 0 }
}

func mebibytes(of func(measurement) int) func(measurement) (float64, bool) {
	return func(m measurement) (float64, bool) { return float64(of(m)) / 1024, of(m) > 0 }
}

func single(m measurement) load { return m.Single }
func burst(m measurement) load  { return m.Burst }
func stream(m measurement) load { return m.Stream }

func ofLags(of func(measurement) load, share float64) func(measurement) (float64, bool) {
	return func(m measurement) (float64, bool) { return quantileOf(of(m).Lags, share) }
}

func perChange(of func(measurement) load) func(measurement) (float64, bool) {
	return func(m measurement) (float64, bool) {
		changes := of(m).Changes
		return of(m).CPU.Seconds() / float64(max(1, changes)), changes > 0
	}
}

func perMinute(of func(idle) float64) func(measurement) (float64, bool) {
	return func(m measurement) (float64, bool) {
		minutes := m.Steady.Lasted.Minutes()
		return of(m.Steady) / max(minutes, 1e-9), minutes > 0
	}
}

// quantileOf returns the quantile of durations, in seconds.
func quantileOf(all []time.Duration, share float64) (float64, bool) {
	sorted := slices.Sorted(slices.Values(all))
	return quantile(sorted, share).Seconds(), len(sorted) > 0
}

func mostOf[T cmp.Ordered](rounds []measurement, value func(measurement) T) T {
	var most T
	for _, m := range rounds {
		most = max(most, value(m))
	}
	return most
}

// quantile returns the smallest of the sorted values that at least the given share of them does not exceed, and zero of none.
func quantile[T any](sorted []T, share float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	at := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(at, len(sorted)-1))]
}
