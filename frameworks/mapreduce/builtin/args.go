package builtin

import "fmt"

// usage lists how each job is called.
var usage = map[string]string{
	"wordcount":    "IN... OUT",
	"grep":         "IN OUT REGEX [GROUP]",
	"sort":         "IN... OUT",
	"teragen":      "ROWS OUT",
	"terasort":     "IN OUT",
	"teravalidate": "IN OUT",
	"pi":           "MAPS SAMPLES OUT",
}

func usageError(job string) error {
	return fmt.Errorf("wrong arguments: use %s %s", job, usage[job])
}

// inOut takes IN... OUT.
func inOut(job string, args []string) (in []string, out string, err error) {
	if len(args) < 2 {
		return nil, "", usageError(job)
	}
	return args[:len(args)-1], args[len(args)-1], nil
}
