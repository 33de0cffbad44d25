package hadoopxml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, files ...string) *Conf {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, text := range files {
		name := string(rune('a'+i)) + "-site.xml"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	c, err := Load(dir, append(names, "absent.xml")...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLaterFilesOverrideButFinal(t *testing.T) {
	c := read(t, `<?xml version="1.0"?><!-- c --><configuration>
		<property><name>a</name><value>1</value></property>
		<property><name>b</name><value> two </value><final>true</final></property>
		<property><name>fs.default.name</name><value>hdfs://old</value></property>
		</configuration>`, `<configuration><property><name>a</name><value>3</value></property>
		<property name="b" value="no"/><property><name>e</name><value><![CDATA[<&>]]></value></property></configuration>`)
	for name, want := range map[string]string{"a": "3", "b": "two", "fs.defaultFS": "hdfs://old", "fs.default.name": "hdfs://old", "e": "<&>", "none": ""} {
		if got := c.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.HasSuffix(c.Source("b"), "a-site.xml") {
		t.Errorf("source of b: %q", c.Source("b"))
	}
}

func TestVariables(t *testing.T) {
	t.Setenv("HADOOPXML_TEST", "x")
	var c Conf
	c.Set("host", "nn1")
	c.Set("which", "host")
	c.Set("loop", "a${loop}")
	for value, want := range map[string]string{
		"hdfs://${host}:1": "hdfs://nn1:1", "${${which}}": "nn1", "${nope}/a": "${nope}/a", "${env.HADOOPXML_TEST}": "x",
		"${env.HADOOPXML_NO:-y}": "y", "${env.HADOOPXML_NO-z}": "z", "${}": "${}", "${": "${", "$}{": "$}{",
	} {
		c.Set("v", value)
		if got := c.Get("v"); got != want {
			t.Errorf("%q -> %q, want %q", value, got, want)
		}
	}
	if got := c.Get("loop"); len(got) > 100 {
		t.Errorf("a loop grew to %d bytes", len(got))
	}
}

func TestTypedValues(t *testing.T) {
	var c Conf
	c.Set("size", "128m")
	c.Set("plain", "512")
	c.Set("huge", "9e")
	c.Set("flag", "TRUE")
	c.Set("list", "a, b,,c")
	if n, err := c.Size("size", 0); n != 128<<20 || err != nil {
		t.Error(n, err)
	}
	if n, err := c.Size("plain", 0); n != 512 || err != nil {
		t.Error(n, err)
	}
	if _, err := c.Size("huge", 0); err == nil {
		t.Error("an overflow passed")
	}
	if n, err := c.Size("absent", 7); n != 7 || err != nil {
		t.Error(n, err)
	}
	if b, err := c.Bool("flag", false); !b || err != nil {
		t.Error(b, err)
	}
	if _, err := c.Bool("size", false); err == nil || !strings.Contains(err.Error(), `size is "128m"`) {
		t.Error(err)
	}
	if _, err := c.Int("size", 0); err == nil {
		t.Error("128m passed as a number")
	}
	if got := c.List("list"); len(got) != 3 || got[2] != "c" {
		t.Error(got)
	}
}

func TestBrokenFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "no <configuration>",
		"<html></html>":               "not a Hadoop configuration file",
		"<configuration><property>":   "a.xml:1",
		"\n\n<configuration></wrong>": "a.xml:3",
		`<configuration xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="b"/></configuration>`:   "xi:include is not supported",
		"<configuration>" + strings.Repeat("<a>", 100):                                                       "nested too deep",
		`<!DOCTYPE c [<!ENTITY a "b">]><configuration><property><name>&a;</name></property></configuration>`: "entity",
	} {
		var c Conf
		if err := c.Read(strings.NewReader(text), "a.xml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a missing folder passed")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`<configuration><property><name>a</name><value>${b}${a}</value></property><property name="b" value="2"/></configuration>`))
	f.Add([]byte(`<configuration><property><final>true</final><name>x</name></property></configuration>`))
	f.Add([]byte(`<?xml version="1.0"?><!DOCTYPE x><configuration/>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Conf
		if err := c.Read(strings.NewReader(string(text)), "fuzz"); err != nil {
			return
		}
		for name := range c.settings {
			if len(c.Get(name)) > maxValue+len(text) {
				t.Fatalf("%q expands to %d bytes", name, len(c.Get(name)))
			}
			c.Size(name, 0)
			c.Bool(name, false)
		}
	})
}
