package state

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The package is pure: no clock, goroutine, lock, randomness or log; and no range over a map, whose order would show.
// Maps are only looked into, so a range over a name that was declared as one is all there is to find.
func TestPure(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, entry := range files {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			switch path := strings.Trim(i.Path.Value, `"`); path {
			case "time", "sync", "sync/atomic", "math/rand", "math/rand/v2", "os", "net", "context", "go.uber.org/zap", "unsafe":
				t.Errorf("%s imports %s", entry.Name(), path)
			}
		}
		maps := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if _, ok := n.Type.(*ast.MapType); ok {
					for _, name := range n.Names {
						maps[name.Name] = true
					}
				}
			case *ast.AssignStmt:
				for i, right := range n.Rhs {
					call, ok := right.(*ast.CallExpr)
					if ok && len(call.Args) > 0 {
						right = call.Args[0] // make(map...)
					}
					if l, ok := right.(*ast.CompositeLit); ok {
						right = l.Type
					}
					if _, ok := right.(*ast.MapType); ok {
						if name, ok := n.Lhs[i].(*ast.Ident); ok {
							maps[name.Name] = true
						}
					}
				}
			}
			return true
		})
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", set.Position(n.Pos()))
			case *ast.SendStmt, *ast.SelectStmt, *ast.ChanType:
				t.Errorf("%s has a channel", set.Position(n.Pos()))
			case *ast.RangeStmt:
				name := ""
				switch x := n.X.(type) {
				case *ast.Ident:
					name = x.Name
				case *ast.SelectorExpr:
					name = x.Sel.Name
				}
				if maps[name] {
					t.Errorf("%s ranges over the map %s", set.Position(n.Pos()), name)
				}
			}
			return true
		})
	}
}
