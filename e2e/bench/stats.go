package main

import (
	"fmt"
	"slices"
	"time"
)

// quantile returns the smallest of the sorted values that at least the given share of them does not exceed, and zero of none.
func quantile[T any](sorted []T, share float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	at := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(at, len(sorted)-1))]
}

// quantileOf returns the quantile of durations, in seconds.
func quantileOf(all []time.Duration, share float64) (float64, bool) {
	sorted := slices.Sorted(slices.Values(all))
	return quantile(sorted, share).Seconds(), len(sorted) > 0
}

// sample is values of the same thing.
type sample []float64

func (s sample) median() float64 { return quantile(slices.Sorted(slices.Values(s)), 0.5) }

// spread returns the smallest and the largest value.
func (s sample) spread() (least, most float64) { return slices.Min(s), slices.Max(s) }

// duration shows seconds in three digits or so.
func duration(value float64) string {
	d := time.Duration(value * float64(time.Second))
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func plain(value float64) string  { return fmt.Sprintf("%.0f", value) }
func tenths(value float64) string { return fmt.Sprintf("%.1f", value) }
func ratio(value float64) string  { return fmt.Sprintf("%.3g", value) }
