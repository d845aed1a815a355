package presence

import (
	"iter"
	"slices"
)

// memberSet holds the members of a channel by id. Most channels have few, of which a list takes
// a quarter of what a map takes.
type memberSet struct {
	few  []*member
	many map[string]*member // instead of few
}

// maxFew is how many members a list holds.
const maxFew = 16

func (s *memberSet) len() int { return len(s.few) + len(s.many) }

// find returns a member, nil if there is none.
func (s *memberSet) find(id string) *member {
	for _, mem := range s.few {
		if mem.id == id {
			return mem
		}
	}
	return s.many[id]
}

// add adds a member that is not in the set.
func (s *memberSet) add(mem *member) {
	if s.many == nil && len(s.few) < maxFew {
		s.few = append(s.few, mem)
		return
	}
	if s.many == nil {
		s.many = make(map[string]*member, 2*maxFew)
		for _, m := range s.few {
			s.many[m.id] = m
		}
		s.few = nil
	}
	s.many[mem.id] = mem
}

// remove removes a member if it is in the set.
func (s *memberSet) remove(mem *member) {
	delete(s.many, mem.id)
	if i := slices.Index(s.few, mem); i >= 0 {
		last := len(s.few) - 1
		s.few[i] = s.few[last]
		s.few[last] = nil
		s.few = s.few[:last]
	}
}

// all yields every member, in no order. The one that is yielded may be removed meanwhile.
func (s *memberSet) all() iter.Seq[*member] {
	return func(yield func(*member) bool) {
		for _, mem := range slices.Backward(s.few) {
			if !yield(mem) {
				return
			}
		}
		for _, mem := range s.many {
			if !yield(mem) {
				return
			}
		}
	}
}
