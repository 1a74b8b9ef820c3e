package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// source is one parsed Go file of the project.
type source struct {
	path string // from the project's root
	file *ast.File
	set  *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// folder is the file's package, by its path from the project's root.
func (s source) folder() string { return filepath.Dir(s.path) }

// lines returns how many lines a node spans.
func (s source) lines(node ast.Node) int {
	return s.set.Position(node.End()).Line - s.set.Position(node.Pos()).Line + 1
}

// sources parses every Go file of the project, those of nested modules included.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		all = append(all, source{relative, file, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found only %d Go files: the test looks in the wrong place", len(all))
	}
	return all
}

func TestTopLevelHoldsNothingElse(t *testing.T) {
	allowed := map[string]bool{"cmd": true, "internal": true, "manifests": true, "e2e": true, "go.mod": true, "go.sum": true,
		"Makefile": true, "Dockerfile": true, "LICENSE": true, "README.md": true}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !allowed[entry.Name()] && !strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("%s is at the top level; it belongs into one of the folders there", entry.Name())
		}
	}
}
