package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// put writes a file, with its folders; one that begins with #! may be run.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeSpark is a folder that looks like a Spark.
func fakeSpark(t *testing.T, version string) string {
	home := t.TempDir()
	put(t, home+"/bin/spark-submit", "#!/bin/sh\nexit 0\n")
	put(t, home+"/bin/pyspark", "#!/bin/sh\nexit 0\n")
	put(t, home+"/jars/spark-core_2.12-"+version+".jar", "")
	put(t, home+"/jars/spark-yarn_2.12-"+version+".jar", "")
	return home
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestSplit(t *testing.T) {
	own := map[string]string{}
	flag := func(name string, value bool) Flag {
		return Flag{Value: value, Set: func(v string) error {
			if v == "bad" {
				return errors.New("no")
			}
			own[name] = v
			return nil
		}}
	}
	flags := map[string]Flag{"--role": flag("role", true), "-o": flag("o", true), "--progress": flag("progress", false)}
	for _, tc := range []struct {
		line, spark, app, own, unknown string
		check                          func(*Words) bool
	}{
		{"app.py --role x -o json", "app.py --role x -o json", "app.py", "", "", nil},
		{"--role a/b --conf k=v -o json app.py --progress", "--conf k=v app.py --progress", "app.py", "o=json role=a/b", "", nil},
		{"--role=a --progress --progress=false -v app.jar 1", "-v app.jar 1", "app.jar", "progress=false role=a", "", nil},
		{"--name --role app.py", "--name --role app.py", "app.py", "", "", nil}, // a value, whatever it looks like
		{"--jars a.jar,b.jar --class=x.Y --deploy-mode cluster --conf spark.master=local[2] a.jar", "--jars a.jar,b.jar --class=x.Y --deploy-mode cluster --conf spark.master=local[2] a.jar", "a.jar",
			"", "", func(w *Words) bool { return w.Master == "local[2]" && w.DeployMode == "cluster" }},
		{"--master yarn -c spark.master=local -c spark.submit.deployMode=cluster a.py", "--master yarn -c spark.master=local -c spark.submit.deployMode=cluster a.py", "a.py", "", "",
			func(w *Words) bool { return w.Master == "yarn" && w.DeployMode == "cluster" }},
		{"--queue=q a.py", "--queue=q a.py", "a.py", "", "", func(w *Words) bool { return w.Queue == "q" }},
		{"--brand-new x --role y app.py", "--brand-new x --role y app.py", "", "", "--brand-new", nil},
		{"--brand-new=x --role y app.py", "--brand-new=x --role y app.py", "", "", "--brand-new=x", nil},
		{"-c=k=v app.py", "-c=k=v app.py", "", "", "-c=k=v", nil}, // Spark takes = after two dashes only
		{"--conf", "--conf", "", "", "--conf", nil},
		{"--version", "--version", "", "", "", func(w *Words) bool { return w.Info && !w.Help }},
		{"--status=application_1_2", "--status=application_1_2", "", "", "", func(w *Words) bool { return w.Info }},
		{"--role a -h", "-h", "", "role=a", "", func(w *Words) bool { return w.Help }},
		{"app.py --help", "app.py --help", "app.py", "", "", func(w *Words) bool { return !w.Help }},
		{"", "", "", "", "", nil},
	} {
		clear(own)
		w, err := Split(strings.Fields(tc.line), flags)
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
			continue
		}
		var got []string
		for _, k := range []string{"o", "progress", "role"} {
			if v, ok := own[k]; ok {
				got = append(got, k+"="+v)
			}
		}
		if strings.Join(w.Spark, " ") != tc.spark || w.Application != tc.app || strings.Join(got, " ") != tc.own || w.Unknown != tc.unknown || tc.check != nil && !tc.check(w) {
			t.Errorf("%s: %+v, own %v", tc.line, w, got)
		}
	}
	for _, line := range []string{"--role", "--role bad", "--progress=bad x.py"} {
		if _, err := Split(strings.Fields(line), flags); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("--conf\x00a=b\x00--role\x00x\x00app.py\x00--role")
	f.Add("--deploy-mode=cluster\x00-v\x00--nonsense")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		w, err := Split(args, map[string]Flag{"--role": {Value: true, Set: func(string) error { return nil }}})
		if err == nil && len(w.Spark) > len(args) {
			t.Errorf("%q became %q", args, w.Spark)
		}
		// Without flags nothing is lost or changed.
		if w, err = Split(args, nil); err != nil || !cmp.Equal(w.Spark, args) {
			t.Errorf("%q became %q, %v", args, w.Spark, err)
		}
	})
}

func TestFind(t *testing.T) {
	home, bare := fakeSpark(t, "3.5.9"), t.TempDir()
	python := put(t, t.TempDir()+"/python3", "#!/bin/sh\necho noise\necho '{\"pyspark\": \""+home+"\"}'\n")
	without := put(t, t.TempDir()+"/python3", "#!/bin/sh\necho '{\"pyspark\": \"\"}'\n")
	broken := put(t, t.TempDir()+"/python3", "#!/bin/sh\necho first >&2\necho second >&2\nexit 3\n")
	silly := put(t, t.TempDir()+"/python3", "#!/bin/sh\nhead -c 1000000 /dev/zero\n")
	slow := put(t, t.TempDir()+"/python3", "#!/bin/sh\nsleep 100 &\nsleep 100\n")
	noYARN := fakeSpark(t, "3.5.9")
	if err := os.Remove(noYARN + "/jars/spark-yarn_2.12-3.5.9.jar"); err != nil {
		t.Fatal(err)
	}
	two := fakeSpark(t, "3.5.9")
	put(t, two+"/jars/spark-yarn_2.13-4.1.4.jar", "")
	file := put(t, t.TempDir()+"/file", "")
	noRun := fakeSpark(t, "3.5.9")
	if err := os.Chmod(noRun+"/bin/spark-submit", 0o644); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	t.Setenv("PATH", path+":/usr/bin:/bin")
	if err := os.Symlink(python, path+"/python3"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name         string
		s            Search
		home, python string
		refusal      string
	}{
		{"option", Search{Home: home, Getenv: env("SPARK_HOME", bare)}, home, "", ""},
		{"environment", Search{Getenv: env("SPARK_HOME", home)}, home, "", ""},
		{"environment and Python", Search{Python: without, Getenv: env("SPARK_HOME", home)}, home, without, ""},
		{"Python", Search{Python: python, Getenv: env()}, home, python, ""},
		{"PYSPARK_PYTHON", Search{Getenv: env("PYSPARK_PYTHON", python)}, home, "", ""},
		{"PYSPARK_PYTHON of containers", Search{Getenv: env("PYSPARK_PYTHON", "./environment/bin/python")}, home, "", ""},
		{"python3", Search{Getenv: env()}, home, "", ""},
		{"absent", Search{Home: bare + "/x", Getenv: env()}, "", "", "--spark-home " + bare + "/x: no such folder"},
		{"a file", Search{Home: file, Getenv: env()}, "", "", "no such folder"},
		{"empty", Search{Getenv: env("SPARK_HOME", bare)}, "", "", "SPARK_HOME " + bare + ": it has no bin/spark-submit"},
		{"not to be run", Search{Home: noRun, Getenv: env()}, "", "", "bin/spark-submit that can be run"},
		{"without YARN", Search{Home: noYARN, Getenv: env()}, "", "", "built without YARN"},
		{"two versions", Search{Home: two, Getenv: env()}, "", "", "2 versions of Spark (3.5.9, 4.1.4)"},
		{"Python that is not there", Search{Python: "/no/python", Getenv: env()}, "", "", "--python /no/python: no such file"},
		{"Python without pyspark", Search{Python: without, Getenv: env()}, "", "", without + " has no package pyspark: install one"},
		{"Python that fails", Search{Python: broken, Getenv: env()}, "", "", "exit status 3: second; set --spark-home or --python"},
		{"Python that babbles", Search{Python: silly, Getenv: env()}, "", "", "does not say where its pyspark is"},
		{"Python that hangs", Search{Python: slow, Getenv: env(), Patience: 200 * time.Millisecond}, "", "", "no answer within 200ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i, err := Find(t.Context(), tc.s)
			switch {
			case tc.refusal == "" && err != nil:
				t.Fatal(err)
			case tc.refusal == "":
				if i.Home != tc.home || i.Python != tc.python || i.Version != "3.5.9" {
					t.Errorf("%+v", i)
				}
			case err == nil || !strings.Contains(err.Error(), tc.refusal) || strings.Contains(err.Error(), "\n"):
				t.Errorf("%v, want %q", err, tc.refusal)
			}
		})
	}
	t.Setenv("PATH", bare)
	if _, err := Find(t.Context(), Search{Getenv: env()}); err == nil || !strings.Contains(err.Error(), "no Spark: SPARK_HOME is not set, and there is no Python") {
		t.Errorf("without Python: %v", err)
	}
	if _, err := Find(t.Context(), Search{Home: home, Getenv: env()}); err != nil {
		t.Errorf("a Spark that is named needs no Python: %v", err)
	}
}

// A real Python is asked as users' are.
func TestAskPython(t *testing.T) {
	python, err := program("python3")
	if err != nil {
		t.Skip("no python3 on PATH")
	}
	site := t.TempDir()
	put(t, site+"/pyspark/__init__.py", "raise Exception('it was loaded')")
	t.Setenv("PYTHONPATH", site)
	if got, err := ask(t.Context(), python, time.Minute); err != nil || got != site+"/pyspark" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestJava(t *testing.T) {
	java := func(text string) string {
		home := t.TempDir()
		put(t, home+"/bin/java", "#!/bin/sh\ncat >&2 <<'X'\n"+text+"\nX\n")
		return home
	}
	eight, seventeen := java("Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version \"1.8.0_392\""), java("openjdk version \"17.0.15\" 2025-04-15")
	odd := java("what?")
	fails := t.TempDir()
	put(t, fails+"/bin/java", "#!/bin/sh\necho 'no memory' >&2\nexit 1\n")
	t.Setenv("PATH", eight+"/bin:/usr/bin:/bin")
	check := func(version, want string, pairs ...string) {
		t.Helper()
		i := &Installation{Home: t.TempDir(), Version: version}
		err := i.CheckJava(t.Context(), Search{Getenv: env(pairs...)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s %v: %v, want %q", version, pairs, err, want)
		}
	}
	check("3.5.9", "")
	check("4.1.4", "/bin/java is Java 8, and Spark 4.1.4 needs 17 or newer: set JAVA_HOME")
	check("4.1.4", "", "JAVA_HOME", seventeen)
	check("4.0.1", "JAVA_HOME "+eight+" is Java 8", "JAVA_HOME", eight)
	check("3.5.9", "has no bin/java", "JAVA_HOME", "/no")
	check("3.5.9", "does not say its version", "JAVA_HOME", odd)
	check("3.5.9", "does not run: exit status 1: no memory", "JAVA_HOME", fails)
	conf := t.TempDir()
	put(t, conf+"/spark-env.sh", "# JAVA_HOME=/a\n")
	check("4.1.4", "is Java 8", "SPARK_CONF_DIR", conf)
	put(t, conf+"/spark-env.sh", "export JAVA_HOME=/opt/java17\n")
	check("4.1.4", "", "SPARK_CONF_DIR", conf)
	check("4.1.4", "", "SPARK_CONF_DIR", conf, "JAVA_HOME", "/no")
	t.Setenv("PATH", "/no")
	check("3.5.9", "no Java: JAVA_HOME is not set and there is no java on PATH; Spark 3.5.9 needs Java 8")
	for text, want := range map[string]int{`java version "1.7.0"`: 7, `openjdk version "21-ea"`: 21, `openjdk version "11.0.2"`: 11, "": 0, `version "x"`: 0} {
		if n, ok := parseJava([]byte(text)); n != want || ok != (want != 0) {
			t.Errorf("%s: %d, %v", text, n, ok)
		}
	}
}

func TestCheckApplication(t *testing.T) {
	dir := t.TempDir()
	app := put(t, dir+"/app.py", "")
	for name, want := range map[string]string{
		app: "", "file://" + app: "", "file:" + app: "", "hdfs:///x.py": "", "local:/opt/x.jar": "", "spark-shell": "", "": "", dir: "is a folder", dir + "/x.py": "there is no such file",
		"file:" + dir + "/x.py": "there is no such file", "nope.py": "nope.py: there is no such file", "./a:b.py": "no such file",
	} {
		if err := CheckApplication(name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestConfiguration(t *testing.T) {
	from := t.TempDir()
	put(t, from+"/core-site.xml", "<configuration/>")
	put(t, from+"/hdfs-site.xml", "<configuration><!-- x --></configuration>")
	put(t, from+"/yarn-site.xml", `<?xml version="1.0"?><configuration>
		<property><name> yarn.resource-types </name><value>yarn.io/gpu &amp; x</value><final>true</final><description>d</description></property>
		<property><name>yarn.resourcemanager.connect.max-wait.ms</name><value>1</value></property></configuration>`)
	put(t, from+"/log4j.properties", "x")
	put(t, from+"/sub.xml/x", "")
	rm := ResourceManager{Host: "rm", Client: 1, Scheduler: 2, Admin: 3, Web: 4}
	if own, err := OwnConfiguration(env("HADOOP_CONF_DIR", from, "YARN_CONF_DIR", "/no")); own != "" || err != nil {
		t.Errorf("%s, %v", own, err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := WriteConfiguration(from, rm)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var names []string
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if d := cmp.Diff([]string{"core-site.xml", "hdfs-site.xml", "yarn-site.xml"}, names); d != "" {
		t.Error(d)
	}
	got, err := readSettings(dir + "/yarn-site.xml")
	want := append([]Setting{{"yarn.resource-types", "yarn.io/gpu & x", "true"}}, rm.settings()...)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if rm.settings()[1].Value != "rm:1" || rm.settings()[4].Value != "rm:4" {
		t.Errorf("%v", rm.settings())
	}
	// What we write names a resource manager.
	if own, err := OwnConfiguration(env("HADOOP_CONF_DIR", from, "YARN_CONF_DIR", dir)); own != dir || err != nil {
		t.Errorf("%s, %v", own, err)
	}
	ha := t.TempDir()
	put(t, ha+"/yarn-site.xml", "<configuration><property><name>yarn.resourcemanager.ha.rm-ids</name><value>a,b</value></property></configuration>")
	if own, err := OwnConfiguration(env("HADOOP_CONF_DIR", ha)); own != ha || err != nil {
		t.Errorf("%s, %v", own, err)
	}
	put(t, ha+"/yarn-site.xml", "<configuration>")
	if _, err := OwnConfiguration(env("HADOOP_CONF_DIR", ha)); err == nil || !strings.Contains(err.Error(), "yarn-site.xml") {
		t.Errorf("%v", err)
	}
	if _, err := WriteConfiguration(ha, rm); err == nil {
		t.Error("a broken file was taken")
	}
	if _, err := WriteConfiguration("/no/folder", rm); err == nil {
		t.Error("a folder that is not there was taken")
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 1 { // the good one
		t.Errorf("%d folders are left", len(left))
	}
	if dir, err := WriteConfiguration("", rm); err != nil || dir == "" {
		t.Errorf("without HDFS: %s, %v", dir, err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`<configuration><property><name>a</name><value>b</value></property></configuration>`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]><configuration>&a;</configuration>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if list, err := parseSettings(text); err == nil && len(list) > maxSettings {
			t.Error(len(list))
		}
	})
}

func TestEnvironment(t *testing.T) {
	base := []string{"A=b", "SPARK_HOME=/old", "HADOOP_CONF_DIR=/old", "YARN_CONF_DIR=/old", "PYSPARK_PYTHON=/old", "PYSPARK_DRIVER_PYTHON=ipython"}
	i := &Installation{Home: "/spark"}
	if d := cmp.Diff([]string{"A=b", "HADOOP_CONF_DIR=/old", "YARN_CONF_DIR=/old", "PYSPARK_PYTHON=/old", "PYSPARK_DRIVER_PYTHON=ipython", "SPARK_HOME=/spark"}, i.Environment(base, "")); d != "" {
		t.Error(d)
	}
	i.Python = "/p"
	if d := cmp.Diff([]string{"A=b", "PYSPARK_DRIVER_PYTHON=ipython", "SPARK_HOME=/spark", "HADOOP_CONF_DIR=/c", "PYSPARK_PYTHON=/p"}, i.Environment(base, "/c")); d != "" {
		t.Error(d)
	}

	// The package from PyPI has pyspark itself beside the folder that Spark's commands have Python search.
	i = &Installation{Home: t.TempDir()}
	zip := filepath.Join(i.Home, "python", "lib", "pyspark.zip")
	if err := os.MkdirAll(filepath.Dir(zip), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(zip, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"SPARK_HOME=" + i.Home, "PYTHONPATH=/mine:" + zip}, i.Environment([]string{"PYTHONPATH=/mine"}, "")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"SPARK_HOME=" + i.Home, "PYTHONPATH=" + zip}, i.Environment([]string{"PYTHONPATH="}, "")); d != "" {
		t.Error(d)
	}
}
