package hadoopxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Bounds on what is read.
const (
	maxFile     = 16 << 20 // bytes of one file
	maxSettings = 100_000
	maxDepth    = 32
	maxExpand   = 20      // rounds of ${}, as in Hadoop
	maxValue    = 1 << 20 // bytes of an expanded value
)

// deprecated names and what they are called now.
var deprecated = map[string]string{
	"fs.default.name":             "fs.defaultFS",
	"dfs.block.size":              "dfs.blocksize",
	"dfs.permissions":             "dfs.permissions.enabled",
	"dfs.federation.nameservices": "dfs.nameservices",
	"dfs.socket.timeout":          "dfs.client.socket-timeout",
}

// Conf is a set of settings. The zero value is empty and usable.
type Conf struct {
	settings map[string]setting
}

type setting struct {
	value string
	final bool
	from  string // file
}

// Load reads the named files of folder dir in order. A missing file is skipped; a missing folder is an error.
func Load(dir string, names ...string) (*Conf, error) {
	if fi, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("folder of the Hadoop configuration: %w", err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("folder of the Hadoop configuration %s: not a folder", dir)
	}
	c := &Conf{}
	for _, name := range names {
		file := filepath.Join(dir, name)
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = c.Read(f, file)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Set overrides a setting, also a final one.
func (c *Conf) Set(name, value string) { c.put(name, setting{value: value}, true) }

func (c *Conf) put(name string, s setting, force bool) {
	if now, ok := deprecated[name]; ok {
		name = now
	}
	if c.settings == nil {
		c.settings = make(map[string]setting)
	}
	if c.settings[name].final && !force {
		return
	}
	c.settings[name] = s
}

// Read adds the settings of one XML file, which errors call from.
func (c *Conf) Read(r io.Reader, from string) error {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s: larger than %d MiB", from, maxFile>>20)
	}
	p := parser{decoder: xml.NewDecoder(bytes.NewReader(text)), conf: c, from: from}
	if err := p.run(); err != nil {
		line, _ := p.decoder.InputPos()
		return fmt.Errorf("%s:%d: %w", from, line, err)
	}
	return nil
}

type parser struct {
	decoder *xml.Decoder
	conf    *Conf
	from    string

	path        []string // open elements
	name, value string
	final       bool
	field       strings.Builder
}

func (p *parser) run() error {
	rooted := false
	for {
		token, err := p.decoder.Token()
		if err == io.EOF {
			if !rooted {
				return errors.New("no <configuration> element")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(p.path) == 0 && t.Name.Local != "configuration" {
				return fmt.Errorf("<%s> instead of <configuration>: not a Hadoop configuration file", t.Name.Local)
			}
			rooted = true
			if err := p.open(t); err != nil {
				return err
			}
		case xml.EndElement:
			if err := p.close(); err != nil {
				return err
			}
		case xml.CharData:
			if p.inField() {
				p.field.Write(t)
			}
		}
	}
}

func (p *parser) inField() bool { return len(p.path) >= 3 && p.path[len(p.path)-2] == "property" }

func (p *parser) open(t xml.StartElement) error {
	if t.Name.Local == "include" {
		return errors.New("xi:include is not supported: put the settings into the file itself")
	}
	if len(p.path) >= maxDepth {
		return errors.New("elements nested too deep")
	}
	p.path = append(p.path, t.Name.Local)
	if t.Name.Local == "property" {
		p.name, p.value, p.final = "", "", false
		for _, a := range t.Attr { // the short form: <property name="a" value="b"/>
			p.set(a.Name.Local, a.Value)
		}
	}
	p.field.Reset()
	return nil
}

func (p *parser) set(field, text string) {
	switch field {
	case "name":
		p.name = strings.TrimSpace(text)
	case "value":
		p.value = text
	case "final":
		p.final = strings.TrimSpace(text) == "true"
	}
}

func (p *parser) close() error {
	element := p.path[len(p.path)-1]
	if p.inField() {
		p.set(element, p.field.String())
	}
	p.path = p.path[:len(p.path)-1]
	if element != "property" || p.name == "" {
		return nil
	}
	if len(p.conf.settings) >= maxSettings {
		return fmt.Errorf("more than %d settings", maxSettings)
	}
	p.conf.put(p.name, setting{value: p.value, final: p.final, from: p.from}, false)
	return nil
}

// Get returns a setting with its variables replaced and without space around it; "" if it is not set.
func (c *Conf) Get(name string) string {
	value, _ := c.Lookup(name)
	return value
}

// Lookup is Get that tells whether the setting is there.
func (c *Conf) Lookup(name string) (string, bool) {
	if now, ok := deprecated[name]; ok {
		name = now
	}
	s, ok := c.settings[name]
	if !ok {
		return "", false
	}
	return strings.TrimSpace(c.expand(s.value)), true
}

// Source returns the file that set name, or "".
func (c *Conf) Source(name string) string { return c.settings[name].from }

// Len returns the number of settings.
func (c *Conf) Len() int { return len(c.settings) }

// List returns a comma-separated setting without empty elements.
func (c *Conf) List(name string) []string {
	var out []string
	for _, s := range strings.Split(c.Get(name), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Bool returns a true or false setting.
func (c *Conf) Bool(name string, fallback bool) (bool, error) {
	switch value := c.Get(name); strings.ToLower(value) {
	case "":
		return fallback, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, c.bad(name, value, "true or false")
	}
}

// Int returns a number.
func (c *Conf) Int(name string, fallback int64) (int64, error) {
	value := c.Get(name)
	if value == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, c.bad(name, value, "a whole number")
	}
	return n, nil
}

// Size returns a number of bytes, which may bear a suffix k, m, g, t, p or e (powers of 1024).
func (c *Conf) Size(name string, fallback int64) (int64, error) {
	value := c.Get(name)
	if value == "" {
		return fallback, nil
	}
	digits, shift := value, 0
	if i := strings.IndexByte("kmgtpe", value[len(value)-1]|0x20); i >= 0 {
		digits, shift = value[:len(value)-1], 10*(i+1)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, c.bad(name, value, "a number of bytes such as 134217728 or 128m")
	}
	return n << shift, nil
}

func (c *Conf) bad(name, value, want string) error {
	from := c.Source(name)
	if from == "" {
		from = "Hadoop configuration"
	}
	return fmt.Errorf("%s: %s is %q, which is not %s", from, name, value, want)
}

// expand replaces ${name}; what cannot be replaced stays as it is.
func (c *Conf) expand(value string) string {
	for range maxExpand {
		start, end := innerVariable(value)
		if start < 0 {
			return value
		}
		replacement, ok := c.variable(value[start+2 : end])
		if !ok || len(value)+len(replacement) > maxValue {
			return value
		}
		value = value[:start] + replacement + value[end+1:]
	}
	return value
}

// innerVariable finds the first ${...} that holds no other.
func innerVariable(s string) (start, end int) {
	start = -1
	for i := 0; i < len(s); i++ {
		if s[i] == '$' && i+1 < len(s) && s[i+1] == '{' {
			start = i
		} else if s[i] == '}' && start >= 0 {
			if i == start+2 { // "${}" is text
				start = -1
				continue
			}
			return start, i
		}
	}
	return -1, -1
}

func (c *Conf) variable(name string) (string, bool) {
	if env, ok := strings.CutPrefix(name, "env."); ok {
		for _, sep := range []string{":-", "-"} { // ${env.A:-x}: also if empty; ${env.A-x}: if not set
			if key, fallback, cut := strings.Cut(env, sep); cut {
				if v, set := os.LookupEnv(key); set && (v != "" || sep == "-") {
					return v, true
				}
				return fallback, true
			}
		}
		return os.LookupEnv(env)
	}
	if s, ok := c.settings[name]; ok {
		return s.value, true
	}
	switch name {
	case "user.name":
		if u, err := user.Current(); err == nil {
			return u.Username, true
		}
	case "user.home":
		if home, err := os.UserHomeDir(); err == nil {
			return home, true
		}
	case "java.io.tmpdir":
		return os.TempDir(), true
	}
	return "", false
}
