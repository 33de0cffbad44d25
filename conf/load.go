package conf

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairway/broker/resource"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// SystemFile is read when no file is named and it exists.
const SystemFile = "/etc/fairway/fairway.yaml"

// Load reads the file at path over the defaults, then the overrides of environ ("KEY=value" entries). With an empty
// path it reads FAIRWAY_CONF's or SystemFile if there is one. Errors name the file, the line and the key.
func Load(path string, environ []string) (*Config, error) {
	c := Default()
	named := path != ""
	if !named {
		path = lookup(environ, "FAIRWAY_CONF")
		named = path != ""
	}
	if !named {
		path = SystemFile
	}
	b, err := readBounded(path)
	switch {
	case err == nil:
		if err := c.merge(b); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", path, err)
		}
	case !named && errors.Is(err, os.ErrNotExist):
	default:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := c.override(environ); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %s", path, resource.FormatBytes(maxFile))
	}
	return b, err
}

func lookup(environ []string, key string) string {
	for _, e := range slices.Backward(environ) {
		if v, ok := strings.CutPrefix(e, key+"="); ok {
			return v
		}
	}
	return ""
}

// merge reads YAML over c.
func (c *Config) merge(b []byte) error {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty
		}
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	if err := known(doc.Content[0], reflect.TypeFor[Config](), ""); err != nil {
		return err
	}
	if err := doc.Content[0].Decode(c); err != nil {
		return errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	return nil
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// known refuses keys that t has no field for, naming the nearest one.
func known(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.AliasNode {
		return fmt.Errorf("line %d: aliases are not supported", n.Line)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			if err := known(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		fields := fieldsOf(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			f, ok := fields[key.Value]
			if !ok {
				return fmt.Errorf("line %d: unknown key %q%s", key.Line, join(path, key.Value), hint(key.Value, fields, path))
			}
			if err := known(n.Content[i+1], f.Type, join(path, key.Value)); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Kind != yaml.MappingNode && n.Tag != "!!null":
		return fmt.Errorf("line %d: %s is a section: write its keys below it, indented", n.Line, path)
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	m := make(map[string]reflect.StructField, t.NumField())
	for i := range t.NumField() {
		m[t.Field(i).Tag.Get("yaml")] = t.Field(i)
	}
	return m
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// hint names the nearest known key, or all of them when none is near.
func hint(key string, fields map[string]reflect.StructField, path string) string {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	if n, ok := Nearest(key, names); ok {
		return fmt.Sprintf("; did you mean %q?", join(path, n))
	}
	return "; known here: " + strings.Join(names, ", ")
}

// Nearest returns the name that differs least from word, if it differs by a third of its length or less.
func Nearest(word string, names []string) (string, bool) {
	best, bestD := "", 1<<30
	for _, n := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(n)); d < bestD {
			best, bestD = n, d
		}
	}
	return best, best != "" && bestD <= max(1, (len(word)+2)/3)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// reserved are names of the environment that Fairway itself sets for tasks or that tests use.
var reserved = []string{"FAIRWAY_AGENT_ID", "FAIRWAY_AGENT_HOST", "FAIRWAY_AGENT_DATA_ADDRESS"}

// override applies FAIRWAY_<SECTION>_<KEY>=value, for keys of one value, and the short FAIRWAY_BROKER and
// FAIRWAY_TOKEN_FILE of clients.
func (c *Config) override(environ []string) error {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, "FAIRWAY_")
		if !ok || slices.Contains(reserved, name) {
			continue
		}
		switch name {
		case "FAIRWAY_BROKER":
			c.Client.Broker = value
			continue
		case "FAIRWAY_TOKEN_FILE":
			c.Client.TokenFile = value
			continue
		}
		if err := overrideOne(reflect.ValueOf(c).Elem(), strings.ToLower(rest), name, value, ""); err != nil {
			return err
		}
	}
	return nil
}

func overrideOne(v reflect.Value, rest, name, value, path string) error {
	fields := fieldsOf(v.Type())
	for key, f := range fields {
		field := v.FieldByIndex(f.Index)
		if rest == key && field.Kind() != reflect.Struct {
			if err := setScalar(field, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		if sub, ok := strings.CutPrefix(rest, key+"_"); ok && field.Kind() == reflect.Struct {
			return overrideOne(field, sub, name, value, join(path, key))
		}
	}
	if path == "" {
		return nil // not of a section: somebody else's variable
	}
	return fmt.Errorf("%s sets no key of section %s%s", name, path, hint(rest, fields, path))
}

func setScalar(field reflect.Value, value string) error {
	if field.Kind() == reflect.Pointer {
		p := reflect.New(field.Type().Elem())
		if err := setScalar(p.Elem(), value); err != nil {
			return err
		}
		field.Set(p)
		return nil
	}
	if field.Addr().Type().Implements(textType) {
		return field.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(value))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		field.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no whole number", value)
		}
		field.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", value)
		}
		field.SetFloat(x)
	case reflect.Slice:
		if field.Type().Elem().Kind() != reflect.String {
			return errors.New("cannot be set from the environment")
		}
		field.Set(reflect.ValueOf(strings.Split(value, ",")))
	default:
		return errors.New("cannot be set from the environment")
	}
	return nil
}

// validate refuses values that no part could work with.
func (c *Config) validate() error {
	seen := map[string]bool{}
	for i, r := range c.Roles {
		if r.Path == "" {
			return fmt.Errorf("roles[%d].path: a role needs a path, such as analytics/reports", i)
		}
		if seen[r.Path] {
			return fmt.Errorf("roles[%d].path: role %q is there twice", i, r.Path)
		}
		seen[r.Path] = true
		if r.Weight < 0 || r.Weight > 1e6 {
			return fmt.Errorf("roles[%d].weight: %v is not between 0.001 and 1000000", i, r.Weight)
		}
	}
	b := c.Broker
	if b.AgentRate < 1 || b.AgentRate > 1_000_000 {
		return fmt.Errorf("broker.agent_rate: %d is not between 1 and a million", b.AgentRate)
	}
	if b.LauncherShare <= 0 || b.LauncherShare > 1 {
		return fmt.Errorf("broker.launcher_share: %v is not between 0 and 1", b.LauncherShare)
	}
	if b.AgentTimeout < 2*b.Heartbeat {
		return fmt.Errorf("broker.agent_timeout must be at least twice broker.heartbeat")
	}
	if c.Agent.SandboxFree < 0 || c.Agent.SandboxFree >= 1 {
		return fmt.Errorf("agent.sandbox_free: %v is not between 0 and 1", c.Agent.SandboxFree)
	}
	if label := c.Agent.Attributes[labelAttribute]; label != "" && !labelPattern.MatchString(label) {
		return fmt.Errorf("agent.attributes %s: %q is no node label: up to 255 letters, digits, - and _, the first a letter or digit", labelAttribute, label)
	}
	if err := c.YARN.validate(b.Insecure); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return fmt.Errorf("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if !slices.Contains([]string{"json", "console"}, c.Log.Format) {
		return fmt.Errorf("log.format: %q is neither json nor console", c.Log.Format)
	}
	return nil
}
