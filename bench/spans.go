package bench

import "sort"

// span is a run of offsets, both ends included.
type span struct{ from, to uint64 }

// spans is a set of offsets as sorted runs that do not touch.
type spans []span

// add puts a run behind all that is in the set.
func (s *spans) add(from, to uint64) {
	if from <= to {
		*s = append(*s, span{from, to})
	}
}

func (s spans) has(offset uint64) bool {
	i := s.search(offset)
	return i < len(s) && s[i].from <= offset
}

// remove takes an offset out and reports whether it was in.
func (s *spans) remove(offset uint64) bool {
	i := s.search(offset)
	if i == len(*s) || (*s)[i].from > offset {
		return false
	}
	hit := (*s)[i]
	rest := append(spans(nil), (*s)[i+1:]...)
	*s = (*s)[:i]
	s.add(hit.from, offset-1)
	s.add(offset+1, hit.to)
	*s = append(*s, rest...)
	return true
}

// search returns the first run that does not end before offset.
func (s spans) search(offset uint64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].to >= offset })
}
