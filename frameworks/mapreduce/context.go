package mapreduce

import (
	"strconv"
	"sync/atomic"
)

// Counter returns a counter; keep it and Add to it on hot paths.
func (c *Context) Counter(group, name string) *atomic.Int64 {
	return c.Reporter.Counters().Get(group, name)
}

// Status sets the line that the job's page shows for this task.
func (c *Context) Status(line string) { c.Reporter.Status(line) }

// Conf returns a property of the job, or def if it is not set.
func (c *Context) Conf(name, def string) string {
	if v, ok := c.Job.Conf[name]; ok {
		return v
	}
	return def
}

// ConfInt returns a property that is a whole number, or def if it is not set or no number.
func (c *Context) ConfInt(name string, def int64) int64 {
	n, err := strconv.ParseInt(c.Job.Conf[name], 10, 64)
	if err != nil {
		return def
	}
	return n
}
