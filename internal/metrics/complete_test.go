package metrics_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// Every function of this package that makes metrics is called for the registry that the tests, the reference and thereby the
// check of alerts and dashboard go by.
func TestNoMetricsAreForgotten(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var makers []string
	used := map[string]bool{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(entry.Name(), "_test.go") {
			makers = append(makers, makersIn(file)...)
		}
		for _, declaration := range file.Decls {
			function, is := declaration.(*ast.FuncDecl)
			if is && slices.Contains([]string{"everything", "requested"}, function.Name.Name) {
				ast.Inspect(function, func(n ast.Node) bool {
					if selector, is := n.(*ast.SelectorExpr); is {
						used[selector.Sel.Name] = true
					}
					return true
				})
			}
		}
	}
	if len(makers) < 8 {
		t.Fatalf("only %q make metrics: they are not where this test looks", makers)
	}
	for _, maker := range makers {
		if !used[maker] {
			t.Errorf("%s makes metrics that everything() has not got", maker)
		}
	}
}

// makersIn returns the exported functions of a file that are given a registry or return a collector.
func makersIn(file *ast.File) []string {
	var makers []string
	for _, declaration := range file.Decls {
		function, is := declaration.(*ast.FuncDecl)
		if !is || function.Recv != nil || !function.Name.IsExported() {
			continue
		}
		ast.Inspect(function.Type, func(n ast.Node) bool {
			selector, is := n.(*ast.SelectorExpr)
			if is && slices.Contains([]string{"Registerer", "Collector"}, selector.Sel.Name) {
				makers = append(makers, function.Name.Name)
			}
			return true
		})
	}
	return makers
}
