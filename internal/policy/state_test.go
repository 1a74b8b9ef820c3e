package policy

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// Package-level variables hide state. Errors that are compared with errors.Is, and assertions that a type implements an
// interface, are constants in all but name.
func TestNoHiddenState(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, declaration := range s.file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s: init() has side effects nobody sees; call a function instead", s.path)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					checkVariable(t, s, d.Tok, spec)
				}
			}
		}
	}
}

func checkVariable(t *testing.T, s source, kind token.Token, spec ast.Spec) {
	t.Helper()
	values, ok := spec.(*ast.ValueSpec)
	if kind != token.VAR || !ok {
		return
	}
	for i, name := range values.Names {
		if name.Name == "_" || i < len(values.Values) && isError(values.Values[i]) {
			continue
		}
		t.Errorf("%s: variable %s is package-level state; make it a constant, a function's result or a field", s.path, name.Name)
	}
}

// isError reports whether an expression makes an error value.
func isError(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && (from.Name == "errors" && selector.Sel.Name == "New" || from.Name == "fmt" && selector.Sel.Name == "Errorf")
}

func TestEverythingExportedIsDocumented(t *testing.T) {
	documented := map[string]string{} // folder → package comment
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		documented[s.folder()] += s.file.Doc.Text()
		for _, declaration := range s.file.Decls {
			checkDocumented(t, s, declaration)
		}
	}
	for folder, text := range documented {
		if !strings.Contains(text, "ut of scope") && !strings.HasPrefix(folder, "cmd/") {
			t.Errorf("%s: the package comment does not say what is out of scope", folder)
		}
		if text == "" {
			t.Errorf("%s has no package comment", folder)
		}
	}
}

func checkDocumented(t *testing.T, s source, declaration ast.Decl) {
	t.Helper()
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			t.Errorf("%s: %s has no doc comment", s.path, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch n := spec.(type) {
			case *ast.TypeSpec:
				if n.Name.IsExported() && d.Doc == nil && n.Doc == nil {
					t.Errorf("%s: type %s has no doc comment", s.path, n.Name.Name)
				}
			case *ast.ValueSpec:
				if n.Names[0].IsExported() && d.Doc == nil && n.Doc == nil && n.Comment == nil {
					t.Errorf("%s: %s has no doc comment", s.path, n.Names[0].Name)
				}
			}
		}
	}
}

// exportedReceiver reports whether the function is no method, or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	name, ok := typ.(*ast.Ident)
	return !ok || name.IsExported()
}
