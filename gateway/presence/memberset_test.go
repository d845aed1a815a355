package presence

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A set does what a map does, as a list and as a map, and when members go while all are looked at.
func TestMemberSet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var set memberSet
		model := make(map[string]*member)
		for range 300 {
			id := fmt.Sprint(random.IntN(2 * maxFew))
			switch mem := set.find(id); {
			case mem != model[id]:
				t.Fatalf("found %v, not %v", mem, model[id])
			case mem == nil:
				model[id] = &member{id: id}
				set.add(model[id])
			default:
				delete(model, id)
				set.remove(mem)
			}
		}
		visited := make(map[string]bool)
		for mem := range set.all() {
			if visited[mem.id] {
				t.Fatalf("%s is yielded twice", mem.id)
			}
			if visited[mem.id] = true; random.IntN(2) == 0 {
				delete(model, mem.id)
				set.remove(mem)
			}
		}
		var left []string
		for mem := range set.all() {
			left = append(left, mem.id)
		}
		slices.Sort(left)
		if want := slices.Sorted(maps.Keys(model)); !slices.Equal(left, want) || set.len() != len(want) {
			t.Fatalf("left %v, not %v", left, want)
		}
	}
}
