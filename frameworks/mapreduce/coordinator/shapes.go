package coordinator

import (
	"strconv"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
)

// Defaults of a task's container. Native tasks need little; programs bring an interpreter of their own, and Arrow
// programs whole batches.
const (
	defaultCPU    = 1000 // milli-cpu
	nativeMemory  = 256 << 20
	programMemory = 512 << 20
	arrowMemory   = 1 << 30
	sortSlack     = 128 << 20 // beside the sort buffer that io.sort.mb asks for
)

// Shapes returns the resources of a job's maps and reduces: what the job says, else by Hadoop's properties, else
// defaults that fit what the tasks run.
func Shapes(job *spec.Job) (mapShape, reduceShape *v1.Resources) {
	memory := func(said int64, property string, stages ...spec.Stage) int64 {
		if said > 0 {
			return said
		}
		if mb := number(job, property); mb > 0 {
			return mb << 20
		}
		m := int64(nativeMemory)
		for _, s := range stages {
			if len(s.Program) > 0 {
				m = programMemory
				if job.IO == "arrow" {
					return arrowMemory
				}
			}
		}
		return m
	}
	cpu := func(said int64, property string) int64 {
		if said > 0 {
			return said
		}
		if cores := number(job, property); cores > 0 {
			return cores * 1000
		}
		return defaultCPU
	}
	m := memory(job.MapMemory, "mapreduce.map.memory.mb", job.Mapper, job.Combiner)
	if job.MapMemory == 0 && number(job, "mapreduce.map.memory.mb") == 0 && job.Reduces > 0 {
		if mb := number(job, "mapreduce.task.io.sort.mb"); mb > 0 {
			m = max(m, mb<<20+sortSlack)
		}
	}
	mapShape = &v1.Resources{CpuMilli: cpu(job.MapCPU, "mapreduce.map.cpu.vcores"), MemoryBytes: m}
	reduceShape = &v1.Resources{
		CpuMilli:    cpu(job.ReduceCPU, "mapreduce.reduce.cpu.vcores"),
		MemoryBytes: memory(job.ReduceMemory, "mapreduce.reduce.memory.mb", job.Reducer),
	}
	return mapShape, reduceShape
}

// number is a positive whole property of the job, else 0.
func number(job *spec.Job, property string) int64 {
	n, err := strconv.ParseInt(job.Conf[property], 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return 0
	}
	return n
}
