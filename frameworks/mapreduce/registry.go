package mapreduce

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrUnknownFunction marks a stage whose function is not registered in this binary.
var ErrUnknownFunction = errors.New("unknown function")

// Registry gives functions the names by which jobs ask for them. It is filled before it is used and then only read.
type Registry struct {
	mappers      map[string]NewMapper
	reducers     map[string]NewReducer
	combiners    map[string]Combiner
	partitioners map[string]Partitioner
}

// NewRegistry returns a registry that knows "identity" as mapper and reducer, "sum", "min", "max" and "count" as
// combiners and reducers, and "hash" as partitioner.
func NewRegistry() *Registry {
	r := &Registry{
		mappers:      map[string]NewMapper{"identity": func() Mapper { return Identity{} }},
		reducers:     map[string]NewReducer{"identity": func() Reducer { return Identity{} }},
		combiners:    map[string]Combiner{},
		partitioners: map[string]Partitioner{"": HashPartition, "hash": HashPartition},
	}
	for name, c := range map[string]Combiner{"sum": Sum, "min": Min, "max": Max, "count": Count} {
		r.combiners[name] = c
		r.reducers[name] = c.InPlace.Reducer
	}
	return r
}

// Mapper registers a mapper. A name that is taken is a mistake of the program, so it panics.
func (r *Registry) Mapper(name string, f NewMapper) { register(r.mappers, "mapper", name, f) }

// Reducer registers a reducer.
func (r *Registry) Reducer(name string, f NewReducer) { register(r.reducers, "reducer", name, f) }

// Combiner registers a combiner.
func (r *Registry) Combiner(name string, c Combiner) { register(r.combiners, "combiner", name, c) }

// Partitioner registers a partitioner.
func (r *Registry) Partitioner(name string, p Partitioner) {
	register(r.partitioners, "partitioner", name, p)
}

func register[T any](m map[string]T, kind, name string, v T) {
	if _, ok := m[name]; ok {
		panic(fmt.Sprintf("mapreduce: %s %q is registered twice", kind, name))
	}
	m[name] = v
}

// FindMapper returns a mapper by name, or ErrUnknownFunction.
func (r *Registry) FindMapper(name string) (NewMapper, error) { return find(r.mappers, "mapper", name) }

// FindReducer returns a reducer by name, or ErrUnknownFunction.
func (r *Registry) FindReducer(name string) (NewReducer, error) {
	return find(r.reducers, "reducer", name)
}

// FindCombiner returns a combiner by name; a reducer of that name also serves. Otherwise ErrUnknownFunction.
func (r *Registry) FindCombiner(name string) (Combiner, error) {
	if c, ok := r.combiners[name]; ok {
		return c, nil
	}
	if f, ok := r.reducers[name]; ok {
		return Combiner{New: f}, nil
	}
	return find(r.combiners, "combiner", name)
}

// FindPartitioner returns a partitioner by name, or ErrUnknownFunction.
func (r *Registry) FindPartitioner(name string) (Partitioner, error) {
	return find(r.partitioners, "partitioner", name)
}

func find[T any](m map[string]T, kind, name string) (T, error) {
	v, ok := m[name]
	if !ok {
		return v, fmt.Errorf("%w: no %s %q in this binary; it knows %q", ErrUnknownFunction, kind, name,
			slices.Sorted(maps.Keys(m)))
	}
	return v, nil
}
