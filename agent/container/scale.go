package container

import (
	"os"
	"path/filepath"
	"sync"
)

// scale has the group of an agent's containers weigh what they weigh one by one. So what a container gets of a contended processor
// does not depend on how many others the same agent of this machine runs. It is safe for concurrent use.
type scale struct {
	dir, file string // the group's weight; dir "": it has none
	usual     int64  // weight of a new group
	most      int64  // that a group can have

	mu   sync.Mutex
	each map[string]int64 // container's group to its weight
	sum  int64
}

// start takes the containers up that are there already.
func (s *scale) start(dir, file string, usual, most int64) {
	s.dir, s.file, s.usual, s.most, s.each = dir, file, usual, most, map[string]int64{}
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if e.IsDir() {
			group := filepath.Join(dir, e.Name())
			if w, err := number(group, file, ""); err == nil {
				s.put(group, w)
			}
		}
	}
}

// put weighs a container's group; 0: it has no weight of its own.
func (s *scale) put(group string, weight int64) {
	if weight <= 0 {
		weight = s.usual
	}
	s.change(group, weight)
}

// drop takes a container's group off.
func (s *scale) drop(group string) { s.change(group, 0) }

func (s *scale) change(group string, weight int64) {
	if s.dir == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := min(s.sum, s.most)
	s.sum += weight - s.each[group]
	if s.each[group] = weight; weight == 0 {
		delete(s.each, group)
	}
	if now := min(s.sum, s.most); now != before && now > 0 {
		_ = set(s.dir, s.file, now) // what it weighed before will do too
	}
}
