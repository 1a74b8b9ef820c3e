package app

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/reference"
)

// The reference for operators has every flag of the daemon, and of each further command those that it has beside and those that
// it lacks.
func TestReferenceHasTheFlags(t *testing.T) {
	daemon := NewCommand()
	all := flagsOf(daemon)
	reference.Check(t, "flags", flagTable(all))
	var text strings.Builder
	for _, command := range daemon.Commands() {
		fmt.Fprintf(&text, "### `%s`\n\n%s.\n", command.UseLine(), command.Short)
		own := slices.DeleteFunc(flagsOf(command), func(f *pflag.Flag) bool {
			same := daemon.Flags().Lookup(f.Name)
			return same != nil && same.Usage == f.Usage
		})
		lacks := slices.DeleteFunc(slices.Clone(all), func(f *pflag.Flag) bool { return command.Flags().Lookup(f.Name) != nil })
		if len(lacks) < len(all) {
			fmt.Fprintf(&text, "It has the daemon's flags, but for %s.\n", listed(lacks))
		}
		if len(own) > 0 {
			text.WriteString("\n" + flagTable(own))
		}
		text.WriteString("\n")
	}
	reference.Check(t, "commands", text.String())
}

// flagsOf returns a command's flags, sorted.
func flagsOf(command *cobra.Command) []*pflag.Flag {
	var flags []*pflag.Flag
	command.Flags().VisitAll(func(flag *pflag.Flag) { flags = append(flags, flag) })
	slices.SortFunc(flags, func(a, b *pflag.Flag) int { return strings.Compare(a.Name, b.Name) })
	return flags
}

func listed(flags []*pflag.Flag) string {
	var names []string
	for _, flag := range flags {
		names = append(names, reference.Code("--"+flag.Name))
	}
	return strings.Join(names, ", ")
}

func flagTable(flags []*pflag.Flag) string {
	var rows [][]string
	for _, flag := range flags {
		value, usage := pflag.UnquoteUsage(flag)
		name := strings.TrimSpace("--" + flag.Name + " " + value)
		if flag.Shorthand != "" {
			name = "-" + flag.Shorthand + ", " + name
		}
		byDefault := flag.DefValue
		if slices.Contains([]string{"[]", "false"}, byDefault) {
			byDefault = ""
		}
		if flag.Deprecated != "" {
			usage += " (deprecated: " + flag.Deprecated + ")"
		}
		rows = append(rows, []string{reference.Code(name), reference.Code(byDefault),
			reference.Code(strings.Join(flag.Annotations[config.FieldAnnotation], " ")), usage})
	}
	return reference.Table([]string{"flag", "default", "field of the file", "what"}, rows)
}

// The reference for operators has every exit status.
func TestReferenceHasTheExitStatuses(t *testing.T) {
	rows := [][]string{{"0", "", "all is well"}, {"1", "", "any other failure"}}
	for _, c := range constants(t, ".", "status", token.INT) {
		command := strings.TrimSuffix(c.file, ".go")
		if command == "run" { // also of the others, where they have none of their own by that number
			command = ""
		}
		rows = append(rows, []string{c.value, reference.Code(command), c.comment})
	}
	if len(rows) < 10 {
		t.Fatalf("there are only the statuses %q", rows)
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(a[1]+" "+a[0], b[1]+" "+b[0]) })
	reference.Check(t, "exit statuses", reference.Table([]string{"status", "of the command", "what"}, rows))
}

// The reference for operators has the reason of every Event.
func TestReferenceHasTheEvents(t *testing.T) {
	var rows [][]string
	for _, c := range slices.Concat(constants(t, "../events", "reason", token.STRING), constants(t, ".", "reason", token.STRING)) {
		reason, err := strconv.Unquote(c.value)
		object, when, both := strings.Cut(c.comment, ": ")
		if err != nil || !both {
			t.Errorf("the comment of %s is %q, want the object that the Event is about, a colon, and when it comes", c.value, c.comment)
		}
		rows = append(rows, []string{reference.Code(reason), object, when})
	}
	if len(rows) < 4 {
		t.Fatalf("there are only the reasons %q", rows)
	}
	reference.Check(t, "Events", reference.Table([]string{"reason", "about the", "when"}, rows))
}

// constant is one as it stands in the source.
type constant struct{ file, value, comment string }

// constants finds those in a package's source whose names begin with a prefix. Each has to have a comment.
func constants(t *testing.T, directory, prefix string, kind token.Token) []constant {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(directory, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []constant
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return true
			}
			if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == kind {
				found = append(found, constant{filepath.Base(name), value.Value, strings.TrimSpace(spec.Comment.Text())})
				if spec.Comment == nil {
					t.Errorf("%s: %s has no comment on its line, which the reference for operators needs", name, spec.Names[0].Name)
				}
			}
			return true
		})
	}
	return found
}
