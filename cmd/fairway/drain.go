package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

// drainLook is how often --wait asks how far it is.
const drainLook = time.Second

// completeAgents offers the ids of agents to the shell.
func (a *app) completeAgents(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(c, args, func(ctx context.Context, b *client.Client) (ids []string) {
		list, _ := allAgents(ctx, b)
		for _, g := range list {
			ids = append(ids, g.Id+"\t"+g.GetInfo().GetHost()+" "+g.State)
		}
		return ids
	})
}

func (a *app) drainCommand() *cobra.Command {
	var timeout time.Duration
	var wait bool
	c := &cobra.Command{
		Use: "drain AGENT", Short: "Take an agent out of service without losing work", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Long: `Drain has nothing more placed on an agent, which is named by its id or its host. What runs
there goes on until it ends, or until --timeout; then it is ended as what is preempted. When
nothing runs there the agent is drained. That holds until 'fairway undrain', also when the
broker or the agent is restarted.

With --wait it returns when the agent can be switched off: when it is drained, and no job that
has not ended may want what its tasks left there, or the timeout is over.`,
		Example: "  fairway drain agent-1f2e-1-3\n  fairway drain host7 --timeout 30m --wait",
		RunE: func(c *cobra.Command, args []string) error {
			if timeout < 0 {
				return usagef("--timeout %v: it cannot be negative", timeout)
			}
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				g, err := b.DrainAgent(ctx, api.Caller{}, &v1.DrainAgentRequest{Agent: args[0], TimeoutNanos: int64(timeout)})
				if err == nil && wait {
					g, err = awaitDrained(ctx, b, g, c.ErrOrStderr())
				}
				if err != nil {
					return err
				}
				return a.printDraining(c.OutOrStdout(), g)
			})
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "end what still runs after this time (0: never)")
	c.Flags().BoolVar(&wait, "wait", false, "return when it is done; progress goes to standard error")
	return c
}

func (a *app) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "undrain AGENT", Short: "Put a drained or draining agent back into service", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Example: "  fairway undrain host7",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				g, err := b.UndrainAgent(ctx, api.Caller{}, &v1.UndrainAgentRequest{Agent: args[0]})
				if err != nil {
					return err
				}
				return a.printDraining(c.OutOrStdout(), g)
			})
		},
	}
}

func (a *app) printDraining(w io.Writer, g *v1.Agent) error {
	if a.output == "json" {
		return printJSON(w, g)
	}
	_, err := fmt.Fprintln(w, drainLine(g))
	return err
}

// drainLine says how far the draining of an agent is.
func drainLine(g *v1.Agent) string {
	text := fmt.Sprintf("%s (%s) is %s", g.Id, g.GetInfo().GetHost(), g.State)
	if !g.Draining {
		return text
	}
	if g.State != "draining" && g.State != "drained" {
		text += " and draining"
	}
	switch {
	case g.Tasks == 1:
		text += "; 1 task runs"
	case g.Tasks > 1:
		text += fmt.Sprintf("; %d tasks run", g.Tasks)
	}
	if g.Tasks > 0 && g.DrainUntilUnixNanos != 0 {
		text += " until " + time.Unix(0, g.DrainUntilUnixNanos).Format(time.DateTime)
	}
	if len(g.Jobs) > 0 {
		names := g.Jobs
		if len(names) > 3 {
			names = append(names[:3:3], fmt.Sprintf("%d more", len(g.Jobs)-3))
		}
		text += "; used by " + strings.Join(names, ", ")
	}
	return text
}

// released tells whether an agent that drains can be switched off.
func released(g *v1.Agent, now time.Time) bool {
	return g.State == "drained" && (len(g.Jobs) == 0 || g.DrainUntilUnixNanos != 0 && now.UnixNano() >= g.DrainUntilUnixNanos)
}

// awaitDrained waits until an agent can be switched off, and prints a line when something has changed.
func awaitDrained(ctx context.Context, b *client.Client, g *v1.Agent, progress io.Writer) (*v1.Agent, error) {
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	for last := ""; !released(g, time.Now()); {
		switch {
		case g.State == "gone":
			return nil, fmt.Errorf("agent %s is gone before it was drained", g.Id)
		case !g.Draining:
			return nil, fmt.Errorf("agent %s is not drained any more: somebody has put it back", g.Id)
		}
		if text := drainLine(g); text != last {
			fmt.Fprintln(progress, text)
			last = text
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
		list, err := allAgents(ctx, b)
		if errors.Is(err, api.ErrUnavailable) {
			continue // it is restarted; the agent goes on draining
		}
		if err != nil {
			return nil, err
		}
		id := g.Id
		g = nil
		for _, x := range list {
			if x.Id == id {
				g = x
			}
		}
		if g == nil {
			return nil, fmt.Errorf("%w: agent %s", api.ErrNotFound, id)
		}
	}
	return g, nil
}
