package service

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// selectionRow is a row of testdata/selection.md, which says what its columns mean.
type selectionRow struct {
	section, name            string
	service, node, endpoints string
	want                     string // the remaining columns
}

func selectionRows(t *testing.T) []selectionRow {
	t.Helper()
	text, err := os.ReadFile("testdata/selection.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []selectionRow
	section, sourced := "", false
	for number, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "## "):
			section, sourced = line[3:], false
		case strings.HasPrefix(line, "Source: "):
			sourced = true
		case !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case |"):
			continue
		default:
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			if len(cells) != 9 || !sourced {
				t.Fatalf("line %d: %d columns, source named: %v", number+1, len(cells), sourced)
			}
			rows = append(rows, selectionRow{section, cells[0], cells[1], cells[2], cells[3], strings.Join(cells[4:], " | ")})
		}
	}
	return rows
}

// TestSelectionTable asks for every row of the table what Select, LocalReady and NoLocal answer.
func TestSelectionTable(t *testing.T) {
	rows := selectionRows(t)
	if len(rows) < 80 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row.section+"/"+row.name, func(t *testing.T) {
			view := NewView(Service{Ports: []Port{{Protocol: dataplane.TCP, Port: 80}}, Policy: policyOf(t, row.service)},
				Slice{Ports: []SlicePort{{Protocol: dataplane.TCP, Port: 8080}}, Endpoints: rowEndpoints(t, row.endpoints)})
			if got := answers(view, nodeOf(t, row.node)); got != row.want {
				t.Errorf("%s; node %s; %s\ngot  %s\nwant %s", row.service, row.node, row.endpoints, got, row.want)
			}
		})
	}
}

// answers prints the columns that follow from the others.
func answers(view View, node Node) string {
	s := Select(view.Endpoints(view.Ports[0]), view.Policy, node)
	var counted []string
	internal, external := NoLocal(view, Facts{Node: node, Families: dataplane.Families()})
	if internal {
		counted = append(counted, "internal")
	}
	if external {
		counted = append(counted, "external")
	}
	if counted == nil {
		counted = []string{"-"}
	}
	return fmt.Sprintf("%s | %s | %s | %d | %s", letters(s.Internal, s.Anywhere), letters(s.External, s.Anywhere),
		letters(s.Shortcut, s.Anywhere), LocalReady(view, dataplane.IPv4, node), strings.Join(counted, " "))
}

func letters(endpoints []PortEndpoint, anywhere bool) string {
	var out []string
	for _, e := range endpoints {
		out = append(out, string(rune(e.Addr.As4()[3])))
	}
	switch {
	case len(out) > 0:
		return strings.Join(out, " ")
	case anywhere:
		return "drop"
	}
	return "refuse"
}

func policyOf(t *testing.T, cell string) Policy {
	t.Helper()
	var out Policy
	for _, word := range strings.Fields(strings.TrimPrefix(cell, "-")) {
		switch word {
		case "iTP=Local":
			out.InternalLocal = true
		case "eTP=Local":
			out.ExternalLocal = true
		case "publish":
			out.PublishNotReady = true
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return out
}

func nodeOf(t *testing.T, cell string) Node {
	t.Helper()
	words := strings.Fields(strings.ReplaceAll(cell, "?", "''"))
	if len(words) != 2 {
		t.Fatalf("not a node: %q", cell)
	}
	return Node{Name: strings.Trim(words[0], "'"), Zone: strings.Trim(words[1], "'")}
}

// rowEndpoints reads descriptions like "a:here b:far,draining,zone=z1+z2".
func rowEndpoints(t *testing.T, cell string) []Endpoint {
	t.Helper()
	var out []Endpoint
	for _, description := range strings.Fields(strings.TrimPrefix(cell, "-")) {
		letter, rest, _ := strings.Cut(description, ":")
		words := strings.Split(rest, ",")
		place, known := places()[words[0]]
		if len(letter) != 1 || !known {
			t.Fatalf("not an endpoint: %q", description)
		}
		e := Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, 0, letter[0]}), Node: place.Name, Zone: place.Zone, Ready: true, Serving: true}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			state, isState := states()[word]
			switch {
			case isState:
				e.Ready, e.Serving, e.Terminating = state[0], state[1], state[2]
			case name == "zone":
				e.ForZones = strings.Split(value, "+")
			case name == "node":
				e.ForNodes = strings.Split(value, "+")
			default:
				t.Fatalf("unknown word %q in %q", word, description)
			}
		}
		out = append(out, e)
	}
	return out
}

func places() map[string]Node {
	return map[string]Node{"here": {Name: "n1", Zone: "z1"}, "near": {Name: "n2", Zone: "z1"}, "far": {Name: "n3", Zone: "z2"}, "lost": {}}
}

// states are the conditions ready, serving and terminating by name: all that there can be, but for "ready and serving",
// which needs none.
func states() map[string][3]bool {
	return map[string][3]bool{
		"unready": {}, "unready+serving": {false, true, false}, "draining": {false, true, true}, "dying": {false, false, true},
		"ready+draining": {true, true, true}, "ready+dying": {true, false, true}, "ready+unserving": {true, false, false},
	}
}

// The table is not one-sided: every state, place and policy is in it.
func TestSelectionTableIsComplete(t *testing.T) {
	var words []string
	for _, row := range selectionRows(t) {
		words = append(words, strings.Fields(row.service)...)
		for _, description := range strings.Fields(row.endpoints) {
			_, rest, _ := strings.Cut(description, ":")
			words = append(words, strings.Split(rest, ",")...)
		}
	}
	want := []string{"iTP=Local", "eTP=Local", "publish", "zone=z1", "zone=z2", "node=n1", "node=n3"}
	for name := range states() {
		want = append(want, name)
	}
	for name := range places() {
		want = append(want, name)
	}
	for _, word := range want {
		if !slices.Contains(words, word) {
			t.Errorf("no row has %q", word)
		}
	}
}
