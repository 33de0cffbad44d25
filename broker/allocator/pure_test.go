package allocator

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pureFolders are the packages that must stay pure: no clock, goroutine, lock, channel, log, global random, package
// variable that changes, or iteration over a map (its order would show).
var pureFolders = []string{".", "../state"}

var forbiddenImports = []string{"time", "sync", "sync/atomic", "math/rand", "math/rand/v2", "os", "io", "net", "log", "log/slog", "context", "runtime", "unsafe", "go.uber.org/zap"}

// allowedImports are exceptions: state writes snapshots to streams that it is given.
var allowedImports = map[string][]string{"../state": {"io"}}

func TestPure(t *testing.T) {
	for _, folder := range pureFolders {
		if _, err := os.Stat(folder); err != nil {
			t.Fatal(err)
		}
		for _, bad := range impure(t, folder) {
			t.Error(bad)
		}
	}
}

// TestPureCanFail shows the check something of each kind that it must find.
func TestPureCanFail(t *testing.T) {
	folder := t.TempDir()
	text := `package x
import ("time"; "slices"; "maps")
var counter int
var words = [2]string{"a", "b"}
func f(m map[int]int, c chan int) {
	go f(nil, nil)
	for k := range m { _ = k }
	c <- 1
	_ = time.Now()
	_ = slices.Sorted(maps.Keys(m))
}
`
	if err := os.WriteFile(filepath.Join(folder, "x.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found := strings.Join(impure(t, folder), "\n")
	for _, want := range []string{"imports time", "goroutine", "map", "channel", "package variable counter"} {
		if !strings.Contains(found, want) {
			t.Errorf("did not find %q in\n%s", want, found)
		}
	}
}

// impure lists what is not pure in the files of a folder. Maps are found by their syntax: a range over a variable, field
// or parameter that the package declares as a map, unless the loop's comment says `order:` and why it does not show.
func impure(t *testing.T, folder string) []string {
	t.Helper()
	files := token.NewFileSet()
	var parsed []*ast.File
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	maps := map[string]bool{}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if _, ok := n.Type.(*ast.MapType); ok {
					for _, name := range n.Names {
						maps[name.Name] = true
					}
				}
			case *ast.AssignStmt:
				for i, rhs := range n.Rhs {
					if isMap(rhs) && i < len(n.Lhs) {
						if id, ok := n.Lhs[i].(*ast.Ident); ok {
							maps[id.Name] = true
						}
					}
				}
			case *ast.ValueSpec:
				if _, ok := n.Type.(*ast.MapType); ok {
					for _, name := range n.Names {
						maps[name.Name] = true
					}
				}
			}
			return true
		})
	}
	var bad []string
	for _, f := range parsed {
		excused := map[int]bool{} // lines after a comment with `order:`
		for _, c := range f.Comments {
			if strings.Contains(c.Text(), "order:") {
				excused[files.Position(c.End()).Line] = true
				excused[files.Position(c.End()).Line+1] = true
			}
		}
		say := func(n ast.Node, format string, args ...any) {
			bad = append(bad, fmt.Sprintf("%s: %s", files.Position(n.Pos()), fmt.Sprintf(format, args...)))
		}
		for _, imp := range f.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			for _, no := range forbiddenImports {
				if path == no && !contains(allowedImports[folder], path) {
					say(imp, "imports %s", path)
				}
			}
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name != "_" && (i >= len(v.Values) || !fixed(v.Values[i])) {
						say(name, "package variable %s", name.Name)
					}
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				say(n, "goroutine")
			case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				say(n, "channel")
			case *ast.RangeStmt:
				name := ""
				switch x := n.X.(type) {
				case *ast.Ident:
					name = x.Name
				case *ast.SelectorExpr:
					name = x.Sel.Name
				}
				if maps[name] && !excused[files.Position(n.Pos()).Line] {
					say(n, "ranges over map %s", name)
				}
			}
			return true
		})
	}
	return bad
}

// fixed says whether a package variable's value is a table or error that nobody changes.
func fixed(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CompositeLit:
		return true
	case *ast.CallExpr:
		if s, ok := v.Fun.(*ast.SelectorExpr); ok {
			return s.Sel.Name == "New" || s.Sel.Name == "Errorf" || s.Sel.Name == "MustCompile" || s.Sel.Name == "MakeTable"
		}
	}
	return false
}

func isMap(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		_, ok := e.Type.(*ast.MapType)
		return ok
	case *ast.CallExpr:
		if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "make" && len(e.Args) > 0 {
			_, ok := e.Args[0].(*ast.MapType)
			return ok
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
