package chart

import (
	"fmt"
	"image/color"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Point is a point of a line. Both values have to be above zero, as the axes are logarithmic.
type Point struct{ X, Y float64 }

// Line is a line with a place in the legend.
type Line struct {
	Name   string
	Points []Point
	Color  int  // lines of the same number have the same colour
	Dashed bool // tells lines of one colour apart
}

// Chart is what is drawn.
type Chart struct {
	Title, X, Y string // Y with its unit
	Lines       []Line
}

// Size of a chart.
const (
	width  = 18 * vg.Centimeter
	height = 11 * vg.Centimeter
)

// Draw writes the chart to an SVG file. Lines without points are left out; a chart without any line, or with a point that its
// axes cannot show, is an error.
func (c Chart) Draw(path string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.BackgroundColor = color.White
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(c.ticks()), plainTicks{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.TextStyle.Font.Size = vg.Points(3), vg.Points(10)
	p.Title.Padding = vg.Points(6)
	p.Add(plotter.NewGrid())
	drawn := 0
	for _, line := range c.Lines {
		if len(line.Points) == 0 {
			continue
		}
		if err := add(p, line); err != nil {
			return fmt.Errorf("chart %q, line %q: %w", c.Title, line.Name, err)
		}
		drawn++
	}
	if drawn == 0 {
		return fmt.Errorf("chart %q has no points", c.Title)
	}
	p.Y.Max *= 4                                // room for the legend
	p.X.Max, p.Y.Min = p.X.Max*1.2, p.Y.Min/1.3 // room for half of the last label, and for marks at the bottom
	return p.Save(width, height, path)
}

// add draws a line with a mark at each of its points.
func add(p *plot.Plot, line Line) error {
	var points plotter.XYs
	for _, point := range line.Points {
		if point.X <= 0 || point.Y <= 0 {
			return fmt.Errorf("point %v is not above zero", point)
		}
		points = append(points, plotter.XY(point))
	}
	stroke, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	palette := colors()
	stroke.Color = palette[line.Color%len(palette)]
	stroke.Width = vg.Points(1.5)
	marks.Color, marks.Shape = stroke.Color, draw.CircleGlyph{}
	if line.Dashed {
		stroke.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Add(stroke, marks)
	p.Legend.Add(line.Name, stroke, marks)
	return nil
}

// ticks are where the points are: the values that were tried.
func (c Chart) ticks() []plot.Tick {
	var values []float64
	for _, line := range c.Lines {
		for _, point := range line.Points {
			values = append(values, point.X)
		}
	}
	slices.Sort(values)
	var ticks []plot.Tick
	for _, value := range slices.Compact(values) {
		ticks = append(ticks, plot.Tick{Value: value, Label: number(value)})
	}
	return ticks
}

// plainTicks labels powers of ten as numbers.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.LogTicks{Prec: -1}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = number(ticks[i].Value)
		}
	}
	return ticks
}

func number(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// colors are those of Okabe and Ito, which people with any colour vision can tell apart.
func colors() []color.Color {
	return []color.Color{
		color.RGBA{0x00, 0x72, 0xb2, 0xff}, // blue
		color.RGBA{0xd5, 0x5e, 0x00, 0xff}, // vermilion
		color.RGBA{0x00, 0x9e, 0x73, 0xff}, // green
		color.RGBA{0xcc, 0x79, 0xa7, 0xff}, // purple
		color.RGBA{0xe6, 0x9f, 0x00, 0xff}, // orange
		color.RGBA{0x56, 0xb4, 0xe9, 0xff}, // light blue
		color.RGBA{0x00, 0x00, 0x00, 0xff},
	}
}
