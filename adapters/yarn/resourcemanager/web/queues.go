package web

import "fairway/adapters/yarn/resourcemanager"

// queue is a queue in the words of the CapacityScheduler; percentages.
type queue struct {
	Type             string     `json:"type,omitempty"`
	Capacity         float32    `json:"capacity"`
	Used             float32    `json:"usedCapacity"`
	Maximum          float32    `json:"maxCapacity"`
	Weight           float32    `json:"weight"`
	NormalizedWeight float32    `json:"normalizedWeight"`
	Name             string     `json:"queueName"`
	Path             string     `json:"queuePath"`
	Absolute         float32    `json:"absoluteCapacity"`
	AbsoluteMaximum  float32    `json:"absoluteMaxCapacity"`
	AbsoluteUsed     float32    `json:"absoluteUsedCapacity"`
	Applications     int        `json:"numApplications"`
	IsAbsolute       bool       `json:"isAbsoluteResource"`
	State            string     `json:"state"`
	Resources        resources  `json:"resourcesUsed"`
	Labels           []string   `json:"nodeLabels"`
	Allocated        int        `json:"allocatedContainers"`
	Reserved         int        `json:"reservedContainers"`
	Pending          int        `json:"pendingContainers"`
	Active           int        `json:"numActiveApplications"`
	Waiting          int        `json:"numPendingApplications"`
	Containers       int        `json:"numContainers"`
	Queues           *queueList `json:"queues,omitempty"`
}

type queueList struct {
	Queue []*queue `json:"queue"`
}

// schedulerOf makes the tree of a list that has parents before their children.
func schedulerOf(list []resourcemanager.QueueInfo) *queue {
	if len(list) == 0 {
		list = []resourcemanager.QueueInfo{{Name: "root", Path: "root", Capacity: 1, Absolute: 1, Maximum: 1}}
	}
	known := map[string]*queue{}
	for i := range list {
		q := &list[i]
		j := &queue{
			Capacity: q.Capacity * 100, Used: q.Used * 100, Maximum: q.Maximum * 100, Weight: -1, Name: q.Name, Path: q.Path,
			Absolute: q.Absolute * 100, AbsoluteMaximum: q.Maximum * 100, AbsoluteUsed: q.AbsoluteUsed * 100,
			Applications: q.Running + q.Waiting, State: "RUNNING", Resources: resourcesOf(q.Memory, q.VCores), Labels: []string{"*"},
			Allocated: q.Containers, Pending: q.Pending, Active: q.Running, Waiting: q.Waiting, Containers: q.Containers,
		}
		if q.Stopped {
			j.State = "STOPPED"
		}
		if len(q.Children) == 0 {
			j.Type = "capacitySchedulerLeafQueueInfo"
		}
		known[q.Path] = j
		if i == 0 {
			j.Type = "capacityScheduler"
			continue
		}
		if parent := known[q.Path[:max(0, len(q.Path)-len(q.Name)-1)]]; parent != nil {
			if parent.Queues == nil {
				parent.Queues = &queueList{}
			}
			parent.Queues.Queue = append(parent.Queues.Queue, j)
		}
	}
	return known[list[0].Path]
}
