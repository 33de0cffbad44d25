package agent

import (
	"sync"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// applied is which revision of a task's resources its container has. Limits are written beside the owner; the lock keeps a
// late goroutine from undoing what a later one did.
type applied struct {
	mu       sync.Mutex
	revision uint64
}

// resize takes other resources for a task: they are written down before its container gets them, so that an agent that comes
// after this one gives them to it again. A revision that is known changes nothing.
func (o *owner) resize(x *v1.TaskResized) {
	t := o.tasks[checkpoint.Key(x.GetTask())]
	if t == nil || t.record.Phase == checkpoint.Ended || x.Revision <= t.record.Spec.GetRevision() {
		return
	}
	if r := x.GetResources(); r.GetMemoryBytes() < 0 || r.GetCpuMilli() < 0 {
		o.a.log.Warn("refused negative resources", zap.String("task", t.key))
		return
	}
	// Others may hold the former spec.
	spec := proto.CloneOf(t.record.Spec)
	spec.Resources, spec.Revision = proto.CloneOf(x.Resources), x.Revision
	t.record.Spec = spec
	o.change.Tasks[t.key] = t.record
	if t.record.Phase == checkpoint.Running {
		o.resizes = append(o.resizes, t)
	}
}

// applySize gives a container the resources that its task has now.
func (o *owner) applySize(t *task) {
	c, spec := t.container, t.record.Spec
	if c == nil || t.record.Phase == checkpoint.Ended {
		return
	}
	o.group.Go(func() error {
		limit := container.Resources{MemoryBytes: spec.GetResources().GetMemoryBytes(), CPUMilli: spec.GetResources().GetCpuMilli(), HardCPU: spec.GetHardCpu()}
		s := o.a.services[spec.GetService()]
		if s != nil && !o.a.awaitServices(o.work) {
			return nil
		}
		t.applied.mu.Lock()
		defer t.applied.mu.Unlock()
		if t.applied.revision >= spec.Revision {
			return nil
		}
		t.applied.revision = spec.Revision
		if s != nil {
			memory, hard := s.Resized(spec)
			if memory > 0 {
				limit.MemoryBytes = memory
			}
			limit.HardCPU = limit.HardCPU || hard
		}
		select {
		case <-t.done: // its cgroups may be gone
		default:
			if err := c.Resize(limit); err != nil {
				o.a.log.Warn("the limits of a container were not changed", zap.String("task", t.key), zap.Error(err))
			}
		}
		return nil
	})
}
