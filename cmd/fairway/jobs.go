package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

// complete offers what list finds at the broker to the shell, for a command's only argument.
func (a *app) complete(c *cobra.Command, args []string, list func(context.Context, *client.Client) []string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.conf == nil && c.Root().PersistentPreRunE(c, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	b, err := a.dial()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer b.Close()
	return list(ctx, b), cobra.ShellCompDirectiveNoFileComp
}

// completeJobs offers the ids of jobs to the shell.
func (a *app) completeJobs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(c, args, func(ctx context.Context, b *client.Client) (ids []string) {
		r, err := b.ListJobs(ctx, api.Caller{}, &v1.ListJobsRequest{})
		if err != nil {
			return nil
		}
		for _, j := range r.Jobs {
			ids = append(ids, j.Id+"\t"+phase(j.Phase)+" "+j.Name)
		}
		return ids
	})
}

func (a *app) jobsCommand() *cobra.Command {
	var role, user, state string
	var all, watch bool
	c := &cobra.Command{
		Use: "jobs", Short: "List jobs, newest first", Args: cobra.NoArgs,
		Example: "  fairway jobs\n  fairway jobs --role analytics --state running\n  fairway jobs --watch",
		RunE: func(c *cobra.Command, _ []string) error {
			q := &v1.ListJobsRequest{Role: role, User: user}
			if state != "" {
				p, ok := v1.JobPhase_value["JOB_PHASE_"+strings.ToUpper(state)]
				if !ok || p == 0 {
					return usagef("--state %s: want waiting, running, succeeded, failed or killed", state)
				}
				q.Phases = []v1.JobPhase{v1.JobPhase(p)}
			}
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				if watch {
					return a.watchJobs(ctx, b, c.OutOrStdout())
				}
				var jobs []*v1.Job
				for {
					r, err := b.ListJobs(ctx, api.Caller{}, q)
					if err != nil {
						return err
					}
					jobs = append(jobs, r.Jobs...)
					if q.PageToken = r.NextPageToken; q.PageToken == "" || !all && len(jobs) >= 100 {
						break
					}
				}
				if a.output == "json" {
					return printJSONList(c.OutOrStdout(), jobs)
				}
				rows := make([][]string, 0, len(jobs))
				for _, j := range jobs {
					rows = append(rows, jobRow(j))
				}
				return table(c.OutOrStdout(), jobHeader, rows)
			})
		},
	}
	c.Flags().StringVar(&role, "role", "", "only of this role")
	c.Flags().StringVar(&user, "user", "", "only of this user")
	c.Flags().StringVar(&state, "state", "", "only in this state: waiting, running, succeeded, failed, killed")
	c.Flags().BoolVar(&all, "all", false, "all that are remembered, not the newest hundred")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on and print each change")
	return c
}

const jobHeader = "ID NAME KIND ROLE USER STATE TOOK TASKS WAITING PROGRESS"

func jobRow(j *v1.Job) []string {
	return []string{j.Id, j.Name, j.Kind, j.Role, j.User, phase(j.Phase), took(j), strconv.Itoa(int(j.TasksRunning)),
		strconv.Itoa(int(j.TasksWaiting)), progress(j)}
}

func (a *app) watchJobs(ctx context.Context, b *client.Client, w io.Writer) error {
	if a.output != "json" {
		fmt.Fprintln(w, jobHeader)
	}
	err := b.WatchJobs(ctx, api.Caller{}, true, func(j *v1.Job) error {
		if a.output == "json" {
			return printJSON(w, j)
		}
		_, err := fmt.Fprintln(w, strings.Join(jobRow(j), "  "))
		return err
	})
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func (a *app) jobCommand() *cobra.Command {
	var tasks bool
	c := &cobra.Command{
		Use: "job JOB", Short: "Show one job: state, progress, counters, tasks", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		Example: "  fairway job job-000001\n  fairway job job-000001 --tasks -o json\n  fairway job application_1700000000000_0001",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				id, err := jobID(ctx, b, args[0])
				if err != nil {
					return err
				}
				j, err := b.GetJob(ctx, api.Caller{}, id)
				if err != nil {
					return err
				}
				var list []*v1.Task
				if tasks {
					if list, err = allTasks(ctx, b, j.Id); err != nil {
						return err
					}
				}
				w := c.OutOrStdout()
				if a.output == "json" {
					if tasks {
						return printJSONList(w, list)
					}
					return printJSON(w, j)
				}
				printJob(w, j)
				if tasks {
					fmt.Fprintln(w)
					return table(w, "TASK NAME STATE HOST LOCALITY RESOURCES MESSAGE", taskRows(list))
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&tasks, "tasks", false, "list its tasks too")
	return c
}

func taskRows(list []*v1.Task) [][]string {
	var rows [][]string
	for _, t := range list {
		rows = append(rows, []string{taskName(t.Id), t.Name, taskState(t.State), t.Host,
			strings.ToLower(strings.TrimPrefix(t.Locality.String(), "LOCALITY_")), amount(t.Resources), t.GetStatus().GetMessage()})
	}
	return rows
}

func taskName(id *v1.TaskID) string { return fmt.Sprintf("%s/%d", id.GetFramework(), id.GetSequence()) }

func allTasks(ctx context.Context, b *client.Client, job string) ([]*v1.Task, error) {
	var list []*v1.Task
	for token := ""; ; {
		r, err := b.ListTasks(ctx, api.Caller{}, &v1.ListTasksRequest{JobId: job, PageToken: token})
		if err != nil {
			return nil, err
		}
		list = append(list, r.Tasks...)
		if token = r.NextPageToken; token == "" {
			return list, nil
		}
	}
}

func printJob(w io.Writer, j *v1.Job) {
	line := func(name, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(w, "%-12s %s\n", name+":", strings.Map(printable, value))
		}
	}
	line("Job", j.Id)
	line("Name", j.Name)
	line("Kind", j.Kind)
	line("Role", j.Role)
	line("User", j.User)
	line("State", phase(j.Phase))
	line("Message", j.Message)
	line("Status", j.Status)
	line("Submitted", time.Unix(0, j.SubmittedUnixNanos).Format(time.DateTime))
	line("Took", took(j))
	line("Attempt", fmt.Sprintf("%d of %d", max(j.Attempt, 1), max(j.MaxAttempts, 1)))
	line("Tasks", fmt.Sprintf("%d running, %d waiting", j.TasksRunning, j.TasksWaiting))
	line("Uses", amount(j.Used))
	line("Progress", progress(j))
	printCounters(w, j.Counters)
}

// printCounters writes counters as Hadoop does, grouped.
func printCounters(w io.Writer, list []*v1.Counter) {
	list = slices.Clone(list)
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].Group != list[j].Group {
			return list[i].Group < list[j].Group
		}
		return list[i].Name < list[j].Name
	})
	group := ""
	for _, k := range list {
		if k.Group != group {
			group = k.Group
			short := group[strings.LastIndex(group, ".")+1:]
			fmt.Fprintf(w, "%s\n", strings.Map(printable, short))
		}
		name := k.Display
		if name == "" {
			name = k.Name
		}
		fmt.Fprintf(w, "    %s=%d\n", strings.Map(printable, name), k.Value)
	}
}

func (a *app) killCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "kill JOB...", Short: "Stop jobs", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeJobs,
		Example: "  fairway kill job-000001",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				var errs []error
				for _, name := range args {
					id, err := jobID(ctx, b, name)
					if err != nil {
						errs = append(errs, err)
						continue
					}
					j, err := b.KillJob(ctx, api.Caller{}, id, reason)
					if err != nil {
						errs = append(errs, err)
						continue
					}
					if a.output == "json" {
						errs = append(errs, printJSON(c.OutOrStdout(), j))
					} else if j.FinishedUnixNanos != 0 {
						fmt.Fprintf(c.OutOrStdout(), "%s had ended already: %s\n", j.Id, phase(j.Phase))
					} else {
						fmt.Fprintf(c.OutOrStdout(), "%s is asked to stop\n", j.Id)
					}
				}
				return errors.Join(errs...)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "shown to the job's user")
	return c
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain JOB", Short: "Say why a job waits, and what would help", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		Long: `Explain says for each request of a job that waits on how many agents it cannot be served
now, by the first reason, and what would unblock it. REFUSED is how often that was the
reason: each time that an agent has room again it is looked at once for all waiting requests
of one shape, and each of them counts what came of it. An agent that is too full, or whose
room went to others, counts while the request waits; an offer that was declined, timed out or
was taken back counts as long as the request is there.`,
		Example: "  fairway explain job-000001",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				id, err := jobID(ctx, b, args[0])
				if err != nil {
					return err
				}
				e, err := b.ExplainJob(ctx, api.Caller{}, id)
				if err != nil {
					return err
				}
				w := c.OutOrStdout()
				if a.output == "json" {
					return printJSON(w, e)
				}
				fmt.Fprintln(w, strings.Map(printable, e.Summary))
				if e.Role != "" {
					fmt.Fprintf(w, "role %s has %.1f%% of the cluster; its fair share is %.1f%%\n", e.Role, 100*e.RoleShare, 100*e.RoleFairShare)
				}
				for _, g := range e.Groups {
					fmt.Fprintf(w, "\nrequest %d: %d of (%s) wait, for %s\n", g.Group, g.Outstanding, amount(g.Shape), span(time.Duration(g.WaitingNanos)))
					var rows [][]string
					for _, r := range g.Refusals {
						rows = append(rows, []string{r.Reason, fmt.Sprintf("%d of %d agents", r.Agents, g.Agents), strconv.FormatUint(r.Count, 10)})
					}
					if len(rows) > 0 {
						if err := table(w, "REASON NOW REFUSED", rows); err != nil {
							return err
						}
					}
					if g.Unblock != "" {
						fmt.Fprintf(w, "  what would help: %s\n", strings.Map(printable, g.Unblock))
					}
				}
				return nil
			})
		},
	}
}
