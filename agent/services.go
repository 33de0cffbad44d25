package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/sandbox"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

// serviceFolder makes a service's folder. Others may pass through it: containers may live below.
func serviceFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// hostOf is what a service may know and do. Its kills end with ctx.
func (a *Agent) hostOf(ctx context.Context, name, dir string) service.Host {
	return service.Host{
		AgentID: a.ID(), Name: a.info.Host, Resources: a.info.Total, WorkDir: dir, Log: a.log.Named(name), Registerer: a.o.Registerer,
		Kill: func(id *v1.TaskID, grace time.Duration, why string) { a.post(ctx, serviceKill{id, grace, why}) },
		Report: func(job string, data []byte) {
			if len(data) > maxReport {
				a.log.Error("a report of a service was dropped: it is too large", zap.String("service", name), zap.Int("bytes", len(data)))
				return
			}
			a.post(ctx, serviceReport{subject{name, job}, data})
		},
		Account: func(name string) (service.Account, error) {
			found, err := a.accounts.find(name)
			if err != nil {
				return service.Account{}, err
			}
			return found.service(), nil
		},
	}
}

// awaitServices waits until all services have started; false: the agent ends.
func (a *Agent) awaitServices(ctx context.Context) bool {
	select {
	case <-a.serving:
		return true
	default:
	}
	select {
	case <-a.serving:
		return true
	case <-ctx.Done():
		return false
	}
}

// accountName is who a task is to run as.
func (a *Agent) accountName(spec *v1.TaskSpec) string {
	if s := a.services[spec.GetService()]; s != nil {
		if name := s.Account(spec); name != "" {
			return name
		}
	}
	return spec.GetCommand().GetUser()
}

// conclude gives a task its terminal status, once its service has completed it.
func (o *owner) conclude(t *task, s *v1.TaskStatus, started bool) {
	by := o.a.services[t.record.Spec.GetService()]
	if by == nil {
		o.finish(t, s)
		return
	}
	t.concluding = true
	spec := t.record.Spec
	o.group.Go(func() error {
		if o.a.awaitServices(o.work) {
			by.Ended(spec, s, started)
			s.Message = oneLine(s.Message)
			o.a.post(o.work, concluded{t, s})
		}
		return nil
	})
}

// relaunch starts a service's task again whose container an earlier agent did not come to start.
func (o *owner) relaunch(t *task) {
	id := t.spec.Task
	err := errors.New("the agent was restarted while it launched the task")
	if sandbox.ValidName(id.GetFramework()) {
		if err = check(t.spec, o.a.services); err == nil {
			err = o.a.tree.Remove(id.Framework, id.Sequence)
		}
	}
	t.ctx, t.cancel = context.WithCancel(o.work)
	if err != nil {
		o.launched(launched{task: t, failure: &launchFailure{v1.TaskReason_TASK_REASON_LAUNCH_FAILED, err}})
		return
	}
	t.received = time.Now()
	o.launches = append(o.launches, t)
}

// again finds the account of a task that is launched again. The services have started by then.
func (a *Agent) again(t *task) error {
	found, err := a.accounts.find(a.accountName(t.spec))
	if err != nil {
		return err
	}
	if found.uid != t.record.UID {
		return fmt.Errorf("the account %s has another number than before the agent's restart", found.name)
	}
	t.account = found
	return nil
}

// tellJobs tells the services which jobs live: those that the broker names and those that still have a task here.
func (o *owner) tellJobs(live map[string]bool) {
	if len(o.a.services) == 0 {
		return
	}
	for job := range o.jobs {
		live[job] = true
	}
	for _, t := range o.active {
		if t.record.Phase != checkpoint.Ended {
			live[t.record.Spec.GetJobId()] = true
		}
	}
	// Here and not beside the owner: a task that it launches next may be of a job that live does not name.
	for _, s := range o.a.services {
		s.JobsLive(live)
	}
}
