package spark

import (
	"slices"
	"testing"
)

func TestSooner(t *testing.T) {
	all := []Executor{
		{Known: true, Begun: true, Number: 2}, {Number: 1}, {Known: true, Number: 3}, {Known: true, Begun: true, Number: 9}, {Known: true, Number: 7}, {Number: 8},
	}
	slices.SortFunc(all, Sooner)
	var got []uint64
	for _, x := range all {
		got = append(got, x.Number)
	}
	if want := []uint64{8, 1, 7, 3, 9, 2}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
