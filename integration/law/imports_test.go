package law

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// allowed is the table of ARCHITECTURE.md: a package (or all below a prefix that ends in /) and what it may import of
// ours. A package may always import those below itself.
var allowed = []struct {
	pkg string
	may []string
}{
	{"broker/resource", nil},
	{"broker/topology", nil},
	{"broker/allocator", []string{"broker/resource", "broker/topology"}},
	{"broker/state", []string{"broker/resource", "broker/topology"}},
	{"broker/journal", []string{"broker/state", "broker/resource"}},
	{"broker/core", []string{"broker/allocator", "broker/state", "broker/journal", "broker/api", "broker/resource", "broker/topology"}},
	{"broker/api", []string{"broker/resource", "broker/topology"}},
	{"broker/server", []string{"broker/core", "broker/api"}},
	{"broker/web", []string{"broker/core", "broker/api"}},
	{"agent", []string{"broker/api", "broker/resource"}},
	{"frameworks/storage", nil},
	{"frameworks/sdk", []string{"broker/api"}},
	{"frameworks/locality", []string{"broker/api", "frameworks/storage"}},
	{"frameworks/mapreduce", []string{"broker/api", "frameworks/sdk", "frameworks/locality", "frameworks/storage"}},
	{"frameworks/spark", nil},
	{"adapters/hdfs", []string{"frameworks/storage", "adapters/hadooprpc"}},
	{"adapters/digest", nil},
	{"adapters/kept", nil},
	{"adapters/recent", nil},
	{"adapters/hadooprpc", []string{"adapters/digest"}},
	{"adapters/yarn", []string{"frameworks/sdk", "frameworks/spark", "frameworks/locality", "frameworks/storage", "broker/api", "agent/service", "adapters/hadooprpc", "adapters/hdfs"}},
	{"adapters/mapreduce", []string{"agent/service", "adapters/hadooprpc", "adapters/kept", "adapters/recent"}},
	{"adapters/spark", []string{"adapters/digest", "adapters/kept", "adapters/recent"}},
	{"adapters/spark/driver", nil},
	{"adapters/spark/launch", nil},
	{"conf", []string{"broker/resource"}},
	{"cmd", []string{""}},
	{"integration", []string{""}},
}

func TestImportLaw(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "fairway/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	n := 0
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		n++
		from := strings.TrimPrefix(p.ImportPath, "fairway/")
		rule := -1
		for i, r := range allowed {
			if within(from, r.pkg) {
				rule = i
			}
		}
		if rule < 0 {
			t.Errorf("%s has no line in the import law", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, "fairway/")
			if !ours || within(to, allowed[rule].pkg) {
				continue
			}
			ok := false
			for _, m := range allowed[rule].may {
				ok = ok || m == "" || within(to, m)
			}
			if strings.HasPrefix(to, "cmd/") && !strings.HasPrefix(from, "cmd/") || strings.HasPrefix(to, "integration/") && !strings.HasPrefix(from, "integration/") {
				ok = false
			}
			if !ok {
				t.Errorf("%s may not import %s", from, to)
			}
		}
	}
	if n < 15 {
		t.Errorf("go list named only %d packages", n)
	}
}

func within(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

// TestArrowInOnePlace keeps the move to another major version of Arrow one commit.
func TestArrowInOnePlace(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "fairway/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/apache/arrow/go/v17") && p.ImportPath != "fairway/frameworks/mapreduce/columnar" && !strings.HasPrefix(p.ImportPath, "fairway/integration/") {
				t.Errorf("%s imports %s; only frameworks/mapreduce/columnar may", p.ImportPath, imp)
			}
		}
		for _, d := range p.Deps {
			if strings.HasPrefix(d, "github.com/apache/arrow-go/") {
				t.Errorf("%s depends on %s beside v17: both register Flight.proto", p.ImportPath, d)
			}
		}
	}
}
