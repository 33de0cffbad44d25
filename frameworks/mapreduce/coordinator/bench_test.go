package coordinator

import (
	"fmt"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// BenchmarkMachine runs a job of 10,000 maps and 50 reduces on 300 hosts, 600 tasks at a time, and counts a map.
func BenchmarkMachine(b *testing.B) {
	const maps, hosts, slots = 10_000, 300, 600
	in := make([]spec.Split, maps)
	for i := range in {
		in[i] = spec.Split{Index: i, URL: "/in", Replicas: []storage.Replica{{Host: fmt.Sprint("h", i%hosts), Rack: "/r"},
			{Host: fmt.Sprint("h", (i+1)%hosts), Rack: "/r"}, {Host: fmt.Sprint("h", (i+7)%hosts), Rack: "/r"}}}
	}
	for b.Loop() {
		m := NewMachine(&spec.Job{Reduces: 50}, 1, Tuning{})
		m.Step(1, Registered{NextSequence: 1})
		m.Step(1, Planned{Splits: in})
		m.Step(1, Ready{})
		var running []uint64
		for now, offer := int64(2), uint64(1); m.mapsDone < maps; now += 1e6 {
			for len(running) < slots && m.waitingMaps.Waiting() > 0 {
				h := fmt.Sprint("h", offer%hosts)
				m.Step(now, Offered{Offers: []*v1.Offer{{Id: offer, Group: mapGroup, AgentId: h, Host: h, Rack: "/r", Count: 1}}})
				for _, a := range m.Take() {
					if l, ok := a.(Launch); ok {
						running = append(running, l.Attempts[0].Sequence)
					}
				}
				offer++
			}
			seq := running[0]
			running = running[1:]
			m.Step(now, StatusChanged{Status: &v1.TaskStatus{Task: &v1.TaskID{Sequence: seq}, State: v1.TaskState_TASK_STATE_RUNNING}})
			m.Step(now, Hello{Sequence: seq})
			m.Step(now, MapDone{Sequence: seq, File: "m", Partitions: make([]Range, 50)})
			m.Step(now, StatusChanged{Status: &v1.TaskStatus{Task: &v1.TaskID{Sequence: seq}, State: v1.TaskState_TASK_STATE_FINISHED}})
			m.Take()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/maps, "µs/map")
}
