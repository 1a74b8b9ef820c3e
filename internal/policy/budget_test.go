package policy

import (
	"go/ast"
	"slices"
	"testing"
)

// The budgets. Over budget needs a better shape, not a larger number here.
const (
	mostFileLines     = 400
	mostFunctionLines = 60
	mostMedianLines   = 15
	mostFields        = 10
	mostMethods       = 9
)

func TestBudgets(t *testing.T) {
	var functions []int
	for _, s := range sources(t) {
		if lines := s.set.File(s.file.Pos()).LineCount(); lines > mostFileLines {
			t.Errorf("%s has %d lines, more than %d", s.path, lines, mostFileLines)
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				lines := s.lines(n)
				if lines > mostFunctionLines {
					t.Errorf("%s: func %s has %d lines, more than %d", s.path, n.Name.Name, lines, mostFunctionLines)
				}
				if !s.test() {
					functions = append(functions, lines)
				}
			case *ast.TypeSpec:
				checkType(t, s, n)
			}
			return true
		})
	}
	slices.Sort(functions)
	if median := functions[len(functions)/2]; median > mostMedianLines {
		t.Errorf("the median function has %d lines, more than %d", median, mostMedianLines)
	}
}

func checkType(t *testing.T, s source, spec *ast.TypeSpec) {
	t.Helper()
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		if n := typ.Fields.NumFields(); n > mostFields {
			t.Errorf("%s: struct %s has %d fields, more than %d", s.path, spec.Name.Name, n, mostFields)
		}
	case *ast.InterfaceType:
		if n := typ.Methods.NumFields(); n > mostMethods {
			t.Errorf("%s: interface %s has %d methods, more than %d", s.path, spec.Name.Name, n, mostMethods)
		}
	}
}
