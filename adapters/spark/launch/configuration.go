package launch

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a folder of Hadoop's configuration.
const (
	maxFileBytes = 4 << 20
	maxFiles     = 100
	maxSettings  = 10_000
)

// Setting is a property of a file of Hadoop's configuration.
type Setting struct {
	Name  string `xml:"name"`
	Value string `xml:"value"`
	Final string `xml:"final,omitempty"`
}

// ResourceManager is where a cluster's YARN is reached.
type ResourceManager struct {
	Host                          string
	Client, Scheduler, Admin, Web int // ports
}

// settings are what a client needs to find it.
func (r ResourceManager) settings() []Setting {
	at := func(port int) string { return fmt.Sprintf("%s:%d", r.Host, port) }
	return []Setting{
		{Name: "yarn.resourcemanager.hostname", Value: r.Host}, {Name: "yarn.resourcemanager.address", Value: at(r.Client)},
		{Name: "yarn.resourcemanager.scheduler.address", Value: at(r.Scheduler)}, {Name: "yarn.resourcemanager.admin.address", Value: at(r.Admin)},
		{Name: "yarn.resourcemanager.webapp.address", Value: at(r.Web)},
	}
}

// OwnConfiguration is the folder of the user's environment that names a resource manager: HADOOP_CONF_DIR's or
// YARN_CONF_DIR's; empty if neither does.
func OwnConfiguration(getenv func(string) string) (string, error) {
	for _, name := range []string{"HADOOP_CONF_DIR", "YARN_CONF_DIR"} {
		dir := getenv(name)
		if dir == "" {
			continue
		}
		list, err := readSettings(filepath.Join(dir, "yarn-site.xml"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if slices.ContainsFunc(list, namesManager) {
			return dir, nil
		}
	}
	return "", nil
}

// namesManager tells whether a setting says where a resource manager is.
func namesManager(s Setting) bool {
	rest, ok := strings.CutPrefix(s.Name, "yarn.resourcemanager.")
	return ok && s.Value != "" && (rest == "hostname" || strings.HasPrefix(rest, "hostname.") || rest == "address" || strings.HasPrefix(rest, "address.") || rest == "ha.rm-ids")
}

// WriteConfiguration makes a folder that only its owner reads, with the XML files of source (empty: none) and a
// yarn-site.xml that names r; other settings of source's are kept in it. Whoever gets the folder removes it.
func WriteConfiguration(source string, r ResourceManager) (string, error) {
	dir, err := os.MkdirTemp("", "fairway-spark-")
	if err != nil {
		return "", err
	}
	if err := writeFiles(source, dir, r); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func writeFiles(source, dir string, r ResourceManager) (err error) {
	var list []Setting
	if source != "" {
		if list, err = copyFiles(source, dir); err != nil {
			return err
		}
	}
	list = slices.DeleteFunc(list, func(s Setting) bool { return strings.HasPrefix(s.Name, "yarn.resourcemanager.") })
	text, err := xml.MarshalIndent(struct {
		XMLName  xml.Name  `xml:"configuration"`
		Settings []Setting `xml:"property"`
	}{Settings: append(list, r.settings()...)}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "yarn-site.xml"), append([]byte(xml.Header), text...), 0o600)
}

// copyFiles copies a folder's XML files, all but yarn-site.xml, whose settings it gives.
func copyFiles(from, to string) (list []Setting, err error) {
	files, err := os.ReadDir(from)
	if err != nil {
		return nil, fmt.Errorf("the folder of Hadoop's configuration: %w", err)
	}
	n := 0
	for _, f := range files {
		path := filepath.Join(from, f.Name())
		if filepath.Ext(path) != ".xml" || !isFile(path) {
			continue
		}
		if f.Name() == "yarn-site.xml" {
			if list, err = readSettings(path); err != nil {
				return nil, err
			}
			continue
		}
		if n++; n > maxFiles {
			return nil, fmt.Errorf("%s holds more than %d XML files: it is no folder of Hadoop's configuration", from, maxFiles)
		}
		text, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(to, f.Name()), text, 0o600); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return text, err
}

func readSettings(path string) ([]Setting, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parseSettings(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// parseSettings reads the properties of a file of Hadoop's configuration.
func parseSettings(text []byte) ([]Setting, error) {
	var c struct {
		XMLName  xml.Name  `xml:"configuration"`
		Settings []Setting `xml:"property"`
	}
	if err := xml.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if len(c.Settings) > maxSettings {
		return nil, fmt.Errorf("%d properties; %d are the most", len(c.Settings), maxSettings)
	}
	for i := range c.Settings {
		s := &c.Settings[i]
		s.Name, s.Value, s.Final = strings.TrimSpace(s.Name), strings.TrimSpace(s.Value), strings.TrimSpace(s.Final)
	}
	return c.Settings, nil
}
