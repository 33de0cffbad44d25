package spark

import (
	"strings"
	"testing"
)

func TestWish(t *testing.T) {
	usual := Wish{Pack: true, Gang: true, Minimum: 0}
	for _, x := range []struct {
		of   Wish
		tags []string
		want Wish
	}{
		{Wish{}, nil, Wish{}},
		{usual, []string{"nightly", "fairway", "team=a"}, usual},
		{Wish{}, []string{"fairway.placement=pack", "x"}, Wish{Pack: true}},
		{usual, []string{"fairway.placement=spread", "fairway.gang=off"}, Wish{}},
		{Wish{}, []string{"fairway.gang"}, Wish{Gang: true}},
		{Wish{}, []string{"x", "fairway.gang=8"}, Wish{Gang: true, Minimum: 8}},
		{usual, []string{"fairway.gang=1000000"}, Wish{Pack: true, Gang: true, Minimum: 1_000_000}},
	} {
		if got, err := x.of.With(x.tags); err != nil || got != x.want {
			t.Errorf("%v of %+v: %+v, %v; want %+v", x.tags, x.of, got, err, x.want)
		}
	}
	for _, tag := range []string{
		"fairway.placement", "fairway.placement=", "fairway.placement=packed", "fairway.gang=", "fairway.gang=0", "fairway.gang=-1", "fairway.gang=1000001", "fairway.gang=on",
		"fairway.gangs", "fairway.", "fairway.gang=99999999999999999999",
	} {
		if got, err := (Wish{}).With([]string{"x", tag}); err == nil || !strings.Contains(err.Error(), tag) {
			t.Errorf("%q is %+v, %v", tag, got, err)
		}
	}
}

func TestFirst(t *testing.T) {
	for _, x := range []struct {
		wish        Wish
		asked, want int64
	}{
		{Wish{}, 4, 0}, {Wish{Minimum: 3}, 4, 0}, {Wish{Gang: true}, 4, 4}, {Wish{Gang: true}, 0, 0}, {Wish{Gang: true, Minimum: 3}, 4, 3},
		{Wish{Gang: true, Minimum: 8}, 4, 4}, {Wish{Gang: true, Minimum: 8}, 0, 0},
	} {
		if got := x.wish.First(x.asked); got != x.want {
			t.Errorf("%+v of %d: %d, want %d", x.wish, x.asked, got, x.want)
		}
	}
}
