package state

import "github.com/google/btree"

// names maps strings to numbers. The tree's Clone takes constant time and copies nodes when they are written.
type names struct{ tree *btree.BTreeG[name] }

type name struct {
	text   string
	number uint32
}

func newNames() names {
	return names{btree.NewG(16, func(a, b name) bool { return a.text < b.text })}
}

func (n names) get(text string) (uint32, bool) {
	e, ok := n.tree.Get(name{text: text})
	return e.number, ok
}

func (n names) has(text string) bool           { return n.tree.Has(name{text: text}) }
func (n names) put(text string, number uint32) { n.tree.ReplaceOrInsert(name{text, number}) }
func (n names) remove(text string)             { n.tree.Delete(name{text: text}) }
func (n names) clone() names                   { return names{n.tree.Clone()} }
func requestKey(user, request string) string   { return user + "\x00" + request }
