package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDrawShowsLinesAndTheirValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.svg")
	c := Chart{Title: "Growth", X: "Services", Y: "seconds", Lines: []Line{
		{Name: "steep", Points: []Point{{100, 1}, {5000, 250}}},
		{Name: "flat", Color: 8, Dashed: true, Points: []Point{{100, 0.5}, {10000, 0.5}}},
		{Name: "absent"}}}
	if err := c.Draw(path); err != nil {
		t.Fatal(err)
	}
	drawn, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">Growth<", ">Services<", ">seconds<", ">steep<", ">flat<", ">100<", ">5000<", ">10000<", "stroke-dasharray"} {
		if !strings.Contains(string(drawn), want) {
			t.Errorf("no %s in the drawing", want)
		}
	}
	if strings.Contains(string(drawn), "absent") {
		t.Error("a line without points is in the legend")
	}
}

func TestDrawRefusesWhatItCannotShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.svg")
	for what, lines := range map[string][]Line{
		"no lines": nil, "no points": {{Name: "a"}}, "zero": {{Name: "a", Points: []Point{{100, 0}}}}, "negative": {{Name: "a", Points: []Point{{-1, 1}}}},
	} {
		if err := (Chart{Lines: lines}).Draw(path); err == nil {
			t.Errorf("%s: drawn", what)
		}
	}
}
