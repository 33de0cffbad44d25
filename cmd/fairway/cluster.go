package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
)

// dial prepares a connection to the configured broker.
func (a *app) dial() (*client.Client, error) {
	c, err := client.Dial(client.Options{Address: a.conf.Client.Broker, TokenFile: a.conf.Client.TokenFile, CAFile: a.conf.Broker.TLS.CA})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// with runs f with a connection to the broker.
func (a *app) with(c *cobra.Command, f func(ctx context.Context, b *client.Client) error) error {
	b, err := a.dial()
	if err != nil {
		return err
	}
	defer b.Close()
	return f(c.Context(), b)
}

func allAgents(ctx context.Context, b *client.Client) ([]*v1.Agent, error) {
	var list []*v1.Agent
	for token := ""; ; {
		r, err := b.ListAgents(ctx, api.Caller{}, &v1.ListAgentsRequest{PageToken: token})
		if err != nil {
			return nil, err
		}
		list = append(list, r.Agents...)
		if token = r.NextPageToken; token == "" {
			return list, nil
		}
	}
}

// agentState is an agent's state, and that it drains where that does not say so.
func agentState(g *v1.Agent) string {
	if g.Draining && g.State != "draining" && g.State != "drained" {
		return g.State + "+draining"
	}
	return g.State
}

func (a *app) agentsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "agents", Short: "List the agents", Args: cobra.NoArgs,
		Example: "  fairway agents\n  fairway agents -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				list, err := allAgents(ctx, b)
				if err != nil {
					return err
				}
				if a.output == "json" {
					return printJSONList(c.OutOrStdout(), list)
				}
				var rows [][]string
				for _, g := range list {
					rows = append(rows, []string{g.Id, g.GetInfo().GetHost(), g.GetInfo().GetRack(), agentState(g), age(g.SinceUnixNanos),
						strconv.Itoa(int(g.Tasks)), amount(g.Used), amount(g.GetInfo().GetTotal())})
				}
				return table(c.OutOrStdout(), "ID HOST RACK STATE FOR TASKS USED TOTAL", rows)
			})
		},
	}
}

func (a *app) rolesCommand() *cobra.Command {
	list := func(c *cobra.Command, _ []string) error {
		return a.with(c, func(ctx context.Context, b *client.Client) error {
			roles, err := b.ListRoles(ctx, api.Caller{})
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSONList(c.OutOrStdout(), roles)
			}
			var rows [][]string
			for _, r := range roles {
				rows = append(rows, []string{r.Path, strconv.FormatFloat(r.Weight, 'g', -1, 64), fmt.Sprintf("%.1f%%", 100*r.DominantShare),
					strconv.Itoa(int(r.TasksRunning)), strconv.Itoa(int(r.TasksWaiting)), amount(r.Used), amount(r.Guarantee), amount(r.Limit)})
			}
			return table(c.OutOrStdout(), "ROLE WEIGHT SHARE RUNNING WAITING USED GUARANTEE LIMIT", rows)
		})
	}
	root := &cobra.Command{Use: "roles", Short: "List, make, change and remove roles", Args: cobra.NoArgs, RunE: list,
		Example: "  fairway roles\n  fairway roles set analytics --weight 2 --limit-memory 64GiB\n  fairway roles remove analytics/old"}
	var weight float64
	var guaranteeCPU, guaranteeMemory, limitCPU, limitMemory string
	set := &cobra.Command{Use: "set ROLE", Short: "Make a role, or change one", Args: cobra.ExactArgs(1),
		Example: "  fairway roles set analytics/reports --weight 2 --guarantee-cpu 4",
		RunE: func(c *cobra.Command, args []string) error {
			q := &v1.SetRoleRequest{Role: &v1.Role{Path: args[0], Weight: weight}}
			var err error
			if q.Role.Guarantee, err = resourcesOf(guaranteeCPU, guaranteeMemory); err != nil {
				return err
			}
			if q.Role.Limit, err = resourcesOf(limitCPU, limitMemory); err != nil {
				return err
			}
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				r, err := b.SetRole(ctx, api.Caller{}, q)
				if err != nil {
					return err
				}
				if a.output == "json" {
					return printJSON(c.OutOrStdout(), r)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "role %s has weight %g\n", r.Path, r.Weight)
				return err
			})
		}}
	set.Flags().Float64Var(&weight, "weight", 1, "share relative to its siblings")
	set.Flags().StringVar(&guaranteeCPU, "guarantee-cpu", "", "cpu that it gets first (4, 500m)")
	set.Flags().StringVar(&guaranteeMemory, "guarantee-memory", "", "memory that it gets first (8GiB)")
	set.Flags().StringVar(&limitCPU, "limit-cpu", "", "cpu that it never exceeds")
	set.Flags().StringVar(&limitMemory, "limit-memory", "", "memory that it never exceeds")
	remove := &cobra.Command{Use: "remove ROLE", Short: "Remove a role that nobody uses", Args: cobra.ExactArgs(1),
		Example: "  fairway roles remove analytics/old",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error { return b.RemoveRole(ctx, api.Caller{}, args[0]) })
		}}
	root.AddCommand(set, remove)
	return root
}

// resourcesOf reads amounts from flags; nil if none is given.
func resourcesOf(cpu, memory string) (*v1.Resources, error) {
	if cpu == "" && memory == "" {
		return nil, nil
	}
	r := &v1.Resources{}
	var err error
	if cpu != "" {
		if r.CpuMilli, err = resource.ParseCPU(cpu); err != nil {
			return nil, usageError{err}
		}
	}
	if memory != "" {
		if r.MemoryBytes, err = resource.ParseBytes(memory); err != nil {
			return nil, usageError{err}
		}
	}
	return r, nil
}
