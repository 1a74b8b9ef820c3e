package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"kube-ipvs-proxy/e2e/bench/chart"
)

// plot is a chart and the name of its file.
type plot struct {
	file string
	chart.Chart
}

// plots are the charts of everything that was measured at two sizes at least.
func (all results) plots() []plot {
	var out []plot
	if sizes := all.growing(); len(sizes) > 1 {
		x := fmt.Sprintf("Services, of %d endpoints each", sizes[0].Endpoints)
		for _, p := range []plot{
			{"cold-start.svg", chart.Chart{Title: "From the start of the process until everything is in the kernel", Y: "seconds",
				Lines: slices.Concat(all.lines(sizes, "", coldTime, false), all.lines(sizes, ", kernel part", kernelPart, true))}},
			{"change-latency.svg", chart.Chart{Title: "One endpoint changes: from the API to the kernel", Y: "seconds",
				Lines: slices.Concat(all.lines(sizes, ", median", changeMedian, false), all.lines(sizes, ", p99", changeP99, true))}},
			{"change-cpu.svg", chart.Chart{Title: "One endpoint changes: CPU time of the proxy", Y: "seconds",
				Lines: all.lines(sizes, "", changeCPU, false)}},
			{"memory.svg", chart.Chart{Title: "Resident memory in the end", Y: "MiB", Lines: all.lines(sizes, "", residentMiB, false)}},
		} {
			p.X = x
			out = append(out, p)
		}
	}
	if counts := all.counts(); len(counts) > 1 {
		for way, file := range map[kinds]string{direct: "connect-direct.svg", throughVIP: "connect-vip.svg"} {
			title := map[kinds]string{direct: "A connection from a pod to a pod, no Service concerned", throughVIP: "A connection through a Service's address"}[way]
			out = append(out, plot{file, chart.Chart{Title: title, X: "Services, of one endpoint each", Y: "milliseconds, median",
				Lines: all.pathLines(counts, way)}})
		}
	}
	return slices.DeleteFunc(out, func(p plot) bool {
		return !slices.ContainsFunc(p.Lines, func(l chart.Line) bool { return len(l.Points) > 0 })
	})
}

// lines are the medians of every contestant's figure at the sizes. Figures that are zero, such as CPU time below what the
// kernel counts, have no place on a logarithmic axis and are left out.
func (all results) lines(sizes []size, suffix string, f figure, dashed bool) []chart.Line {
	var out []chart.Line
	for i, name := range namesTaking(scaling) {
		line := chart.Line{Name: name + suffix, Color: i, Dashed: dashed}
		for _, s := range sizes {
			if values := all.of(s, name, f); len(values) > 0 && values.median() > 0 {
				line.Points = append(line.Points, chart.Point{X: float64(s.Services), Y: values.median()})
			}
		}
		out = append(out, line)
	}
	return out
}

// pathLines are the medians of every contestant's connects.
func (all results) pathLines(counts []size, way kinds) []chart.Line {
	var out []chart.Line
	for i, name := range namesTaking(direct) {
		line := chart.Line{Name: name, Color: i}
		for _, s := range counts {
			if values := all.ofFlows(s, name, way, connectMedian); len(values) > 0 && values.median() > 0 {
				line.Points = append(line.Points, chart.Point{X: float64(s.Services), Y: 1000 * values.median()})
			}
		}
		out = append(out, line)
	}
	return out
}

// draw writes the charts into a directory and returns the names of their files.
func (all results) draw(dir string) ([]string, error) {
	var files []string
	for _, p := range all.plots() {
		if err := p.Draw(filepath.Join(dir, p.file)); err != nil {
			return nil, err
		}
		files = append(files, p.file)
	}
	slices.Sort(files)
	return files, nil
}
