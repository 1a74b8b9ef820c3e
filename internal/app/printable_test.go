package app

import (
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"kube-ipvs-proxy/internal/admin"
)

// hostile are bytes that do something to a terminal: a title, a colour, a cleared screen by one byte, a line that is
// written over, a line that somebody else seems to have written, text that runs backwards, and no UTF-8.
func hostile() []string {
	return []string{"\x1b]0;owned\x07", "\x1b[31mred", "\u009b2J", "one\rtwo", "a\nweb  serving", "\u202etxt", "\xff\xfe", "\x00\x7f\t"}
}

// expectHarmless checks that text has only so many lines, and in them only what can be seen.
func expectHarmless(t *testing.T, what, text string, lines int) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s has %q:\n%q", what, r, text)
		}
	}
	if got := strings.Count(text, "\n"); got != lines {
		t.Errorf("%s has %d lines, want %d:\n%q", what, got, lines, text)
	}
}

// What somebody wrote into a zone shows on root's terminal, and does nothing else there.
func TestStatusOfHostileZones(t *testing.T) {
	for _, zone := range hostile() {
		server := admin.RealStatus{Address: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, State: admin.RealServing}
		server.Zone = zone
		status := admin.Status{Node: "node-1", Daemon: true, VirtualServers: []admin.ServerStatus{{
			ServerKey:   admin.ServerKey{Protocol: "TCP", Address: netip.MustParseAddrPort("10.96.0.1:80")},
			Owner:       admin.Owner{Source: "api", Namespace: "default", Name: "web"},
			Present:     true,
			RealServers: []admin.RealStatus{server},
		}}}
		var out strings.Builder
		if err := (shown{format: "text"}).print(status, &out); err != nil {
			t.Fatal(err)
		}
		expectHarmless(t, "status", out.String(), 6)
	}
}

func TestExplanationOfHostileNames(t *testing.T) {
	for _, zone := range hostile() {
		said := admin.Explanation{Address: "10.96.0.1:80/tcp", Node: "node-1", Daemon: true, Notes: []string{zone}}
		expectHarmless(t, "explain", printable(said.String()), 2+strings.Count(zone, "\n"))
	}
	if text := "Zürich–東京 … ✓\n"; printable(text) != text {
		t.Errorf("%q becomes %q", text, printable(text))
	}
}

// Colours are ours, also around what is not to be trusted.
func TestCarefulColours(t *testing.T) {
	if got, want := careful(admin.Colours)(admin.Heading, "a\x1b[2J"), "\x1b[1ma\uFFFD[2J\x1b[0m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
