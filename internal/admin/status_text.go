package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Paint returns a text in the style that a terminal shows it in.
type Paint func(style Style, text string) string

// Style is what a text is about.
type Style uint8

// The styles.
const (
	Plain Style = iota
	Heading
	Notice // something goes on
	Alarm  // something is wrong
)

// Colours paints for a terminal, with the escape sequences of ECMA-48.
func Colours(style Style, text string) string {
	code := map[Style]string{Heading: "1", Notice: "33", Alarm: "1;31"}[style]
	if code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Colourless leaves text as it is.
func Colourless(_ Style, text string) string { return text }

// Text prints the status as tables: for each Service its virtual servers with their real servers.
func (s Status) Text(paint Paint) string {
	var out strings.Builder
	for _, line := range s.head(paint) {
		fmt.Fprintln(&out, line)
	}
	widths := s.widths()
	var last Owner
	for i, server := range s.VirtualServers {
		owner := server.Owner
		owner.Port = ""
		if i == 0 || owner != last {
			fmt.Fprintf(&out, "\n%s\n", paint(Heading, serviceTitle(owner)))
		}
		last = owner
		fmt.Fprintf(&out, "  %s\n", server.title(paint))
		for _, real := range server.RealServers {
			fmt.Fprintf(&out, "    %s\n", real.row(widths, paint))
		}
	}
	return out.String()
}

// head says in a few lines how the node is.
func (s Status) head(paint Paint) []string {
	sum, ago := s.Summary, func(at time.Time) string {
		if at.IsZero() {
			return "never"
		}
		return s.At.Sub(at).Round(time.Second).String() + " ago"
	}
	lines := []string{
		paint(Heading, s.Node) + ": " + strings.Join([]string{
			count(sum.Services, "Service"), count(sum.VirtualServers, "virtual server"), count(sum.RealServers, "real server"),
			fmt.Sprintf("%d active and %d inactive connections", sum.Active, sum.Inactive)}, ", "),
	}
	var goings []string
	add := func(n int, style Style, format string) {
		if n > 0 {
			goings = append(goings, paint(style, fmt.Sprintf(format, n)))
		}
	}
	add(sum.Draining, Notice, "%d draining")
	add(sum.Missing, Alarm, "%d missing")
	add(sum.Stray, Alarm, "%d not wanted")
	add(sum.OtherWeight, Alarm, "%d with another weight")
	add(s.State.Waiting, Alarm, "%d objects failed and are tried again (see the daemon's log)")
	if len(goings) == 0 {
		goings = []string{"all as wanted"}
	}
	second := strings.Join(goings, ", ")
	switch {
	case !s.Daemon:
		second += "; " + paint(Alarm, "no kube-ipvs-proxy runs here")
	case !s.State.Complete:
		second += "; " + paint(Notice, "the sources are not complete yet")
	default:
		second += fmt.Sprintf("; last round %s, last audit %s", ago(s.State.LastRound), ago(s.State.LastAudit))
	}
	return append(lines, second)
}

// count returns a number and what is counted.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// serviceTitle names a Service.
func serviceTitle(owner Owner) string {
	name := owner.Namespace + "/" + owner.Name
	if owner.Source != "api" && owner.Source != "" {
		name += " (" + owner.Source + ")"
	}
	return name
}

// title is the line of a virtual server.
func (v ServerStatus) title(paint Paint) string {
	var words []string
	if v.Mark != 0 {
		targets := make([]string, len(v.For))
		for i, target := range v.For {
			targets[i] = target.Address.String()
		}
		words = append(words, fmt.Sprintf("%s mark %#x, for clients inside the cluster of %s", v.Family, v.Mark, strings.Join(targets, ", ")))
	} else {
		words = append(words, v.Protocol+" "+v.Address.String())
	}
	if v.Owner.Port != "" {
		words = append(words, "("+v.Owner.Port+")")
	}
	words = append(words, v.Scheduler)
	if v.Persistence > 0 {
		words = append(words, fmt.Sprintf("persistent %ds", v.Persistence))
	}
	switch {
	case len(v.RealServers) == 0 && v.Present:
		words = append(words, paint(Alarm, "no endpoints, not wanted"))
	case len(v.RealServers) == 0:
		words = append(words, paint(Notice, "no endpoints"))
	case !v.Present:
		words = append(words, paint(Alarm, "missing"))
	default:
		words = append(words, fmt.Sprintf("%d connections so far", v.Connections))
	}
	return strings.Join(words, "  ")
}

// columns are what a row says of a real server.
func (r RealStatus) columns() []string {
	return []string{r.Address.String(), orDash(r.Node), orDash(r.Zone), fmt.Sprint("weight ", r.Weight), fmt.Sprint(r.Active, " active"),
		fmt.Sprint(r.Inactive, " inactive")}
}

// widths are those of the columns, the same in all tables.
func (s Status) widths() []int {
	widths := make([]int, 6)
	for _, server := range s.VirtualServers {
		for _, real := range server.RealServers {
			for i, text := range real.columns() {
				widths[i] = max(widths[i], len(text))
			}
		}
	}
	return widths
}

func (r RealStatus) row(widths []int, paint Paint) string {
	cells := r.columns()
	for i, text := range cells {
		padding := strings.Repeat(" ", max(widths[i]-len(text), 0))
		if i >= 3 {
			cells[i] = padding + text // numbers
		} else {
			cells[i] = text + padding
		}
	}
	style := map[RealState]Style{RealDraining: Notice, RealWeighted: Alarm, RealMissing: Alarm, RealStray: Alarm}[r.State]
	if r.State != RealServing {
		cells = append(cells, string(r.State))
	}
	return paint(style, strings.Join(cells, "  "))
}

// Fit cuts text to a screen of so many lines, and says how many it left out.
func Fit(text string, lines int) string {
	all := slices.Collect(strings.Lines(text))
	if lines < 2 || len(all) <= lines {
		return text
	}
	return strings.Join(all[:lines-1], "") + fmt.Sprintf("… and %d more lines", len(all)-lines+1)
}
