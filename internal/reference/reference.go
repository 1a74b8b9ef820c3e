package reference

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// file is the reference, as the test of a package directly below internal finds it.
const file = "../../manifests/reference.md"

// update is the variable that has the reference written instead of compared, if it is 1.
const update = "UPDATE_REFERENCE"

// end marks the end of every section.
const end = "<!-- end -->"

// Check fails the test unless a section of the reference is the wanted text. A section begins with the line
// <!-- begin NAME: written by make docs --> and ends with the line <!-- end -->. It is for tests whose names begin with
// TestReference, which make docs runs.
func Check(t testing.TB, section, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := "<!-- begin " + section + ": written by make docs -->\n"
	before, rest, begins := strings.Cut(string(text), begin)
	got, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no lines %sand %s", file, begin, end)
	}
	want = "\n" + strings.TrimSpace(want) + "\n\n" // Markdown needs the empty lines
	switch {
	case got == want:
	case os.Getenv(update) == "1":
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s: the section %s is not what the code says: run make docs (-file +code):\n%s", file, section, cmp.Diff(got, want))
	}
}

// Table returns a Markdown table.
func Table(head []string, rows [][]string) string {
	var text strings.Builder
	line := func(cells []string) {
		for _, cell := range cells {
			text.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		text.WriteString("|\n")
	}
	line(head)
	text.WriteString(strings.Repeat("| --- ", len(head)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	return text.String()
}

// Code returns text in the type of code, and nothing for nothing.
func Code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
