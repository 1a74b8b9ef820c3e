package admin

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// heading begins the part of the README that has the table.
const heading = "\n## When something does not work\n"

// symptom is a row of the README's table.
type symptom struct {
	sees, command string
	// prints and lacks are what the command prints where this is the trouble, and what it does not.
	prints, lacks []string
}

// symptoms reads the table.
func symptoms(t *testing.T) []symptom {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, there := strings.Cut(string(text), heading)
	if !there {
		t.Fatalf("the README has no %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	cell, word := regexp.MustCompile(`(?:[^|\\]|\\.)+`), regexp.MustCompile("(no )?`([^`]+)`")
	var rows []symptom
	for line := range strings.Lines(section) {
		cells := cell.FindAllString(strings.TrimSpace(line), -1)
		if !strings.HasPrefix(line, "| ") || len(cells) != 4 {
			continue
		}
		row := symptom{sees: strings.TrimSpace(cells[0]), command: strings.ReplaceAll(strings.Trim(cells[1], " `"), `\|`, "|")}
		for _, promised := range word.FindAllStringSubmatch(cells[2], -1) {
			if promised[1] == "" {
				row.prints = append(row.prints, promised[2])
			} else {
				row.lacks = append(row.lacks, promised[2])
			}
		}
		rows = append(rows, row)
	}
	if len(rows) < 12 {
		t.Fatalf("the table has only %d rows", len(rows))
	}
	return rows[2:] // without its head
}

// in says what keeps an output from being what the row has.
func (s symptom) in(printed string) error {
	for _, word := range s.prints {
		if !strings.Contains(printed, word) {
			return fmt.Errorf("%s does not print %q but\n%s", s.command, word, printed)
		}
	}
	for _, word := range s.lacks {
		if strings.Contains(printed, word) {
			return fmt.Errorf("%s prints %q:\n%s", s.command, word, printed)
		}
	}
	if len(s.prints)+len(s.lacks) == 0 {
		return fmt.Errorf("the table does not say what %s prints", s.command)
	}
	return nil
}
