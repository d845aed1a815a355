package strictjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

var (
	// ErrSyntax says that a text is not JSON.
	ErrSyntax = errors.New("malformed JSON")
	// ErrDepth says that a value has more levels than are allowed.
	ErrDepth     = errors.New("JSON is nested too deeply")
	errDuplicate = errors.New("a name occurs twice")
	errCase      = errors.New("a name differs from a known one only in case")
	errUnknown   = errors.New("unknown name")
)

// Shape says which names an object may have.
type Shape struct {
	Names  []string // found values are returned in this order
	Strict bool     // other names are an error rather than ignored
}

// Scan reads data as one JSON object and leaves the raw value of each known name
// in values, nil where the name is absent. Values may be nested up to depth.
// data must be valid UTF-8.
func (shape *Shape) Scan(data []byte, depth int, values [][]byte) error {
	s := scanner{data: data}
	if err := s.object(shape, depth, values); err != nil {
		return err
	}
	return s.end()
}

// ScanObject calls visit with each name and raw value of a JSON object whose names
// are free. data must be valid UTF-8.
func ScanObject(data []byte, depth int, visit func(name string, raw []byte) error) error {
	s := scanner{data: data}
	var seen nameSet
	more, err := s.begin('{')
	for more && err == nil {
		var quoted, raw []byte
		if quoted, err = s.string(); err != nil {
			return err
		}
		name := unquoteName(quoted)
		if !seen.add(name) {
			return errDuplicate
		}
		if raw, err = s.member(depth); err != nil {
			return err
		}
		if err = visit(string(name), raw); err != nil {
			return err
		}
		more, err = s.more('}')
	}
	if err != nil {
		return err
	}
	return s.end()
}

// ScanArray calls visit with each raw element of a JSON array.
func ScanArray(data []byte, depth int, visit func(raw []byte) error) error {
	s := scanner{data: data}
	more, err := s.begin('[')
	for more && err == nil {
		var raw []byte
		if raw, err = s.value(depth); err != nil {
			return err
		}
		if err = visit(raw); err != nil {
			return err
		}
		more, err = s.more(']')
	}
	if err != nil {
		return err
	}
	return s.end()
}

// Valid reports whether data is one JSON value in UTF-8, nested up to MaxNesting.
func Valid(data []byte) bool {
	s := scanner{data: data}
	_, err := s.value(MaxNesting)
	return err == nil && s.end() == nil && utf8.Valid(data)
}

// scanner walks over one JSON text (RFC 8259).
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) object(shape *Shape, depth int, values [][]byte) error {
	var others nameSet
	more, err := s.begin('{')
	for more && err == nil {
		var quoted, raw []byte
		if quoted, err = s.string(); err != nil {
			return err
		}
		name := unquoteName(quoted)
		at := shape.index(name)
		if at < 0 {
			if err = shape.other(name, &others); err != nil {
				return err
			}
		} else if values[at] != nil {
			return errDuplicate
		}
		if raw, err = s.member(depth); err != nil {
			return err
		}
		if at >= 0 {
			values[at] = raw
		}
		more, err = s.more('}')
	}
	return err
}

// begin passes over the bracket that opens a container and reports whether the container
// has an element.
func (s *scanner) begin(opening byte) (more bool, err error) {
	s.space()
	if !s.take(opening) {
		return false, ErrSyntax
	}
	s.space()
	return !s.take(counterpart(opening)), nil
}

// more passes over the comma or bracket after an element and reports whether another element
// follows.
func (s *scanner) more(closing byte) (more bool, err error) {
	s.space()
	if s.take(closing) {
		return false, nil
	}
	if !s.take(',') {
		return false, ErrSyntax
	}
	s.space()
	return true, nil
}

// member passes over the colon after a name and returns the raw value behind it.
func (s *scanner) member(depth int) (raw []byte, err error) {
	s.space()
	if !s.take(':') {
		return nil, ErrSyntax
	}
	s.space()
	return s.value(depth)
}

// counterpart returns the bracket that closes what another one opens.
func counterpart(opening byte) byte { return opening + 2 } // '{' and '}', '[' and ']'

func (shape *Shape) index(name []byte) int {
	for i, known := range shape.Names {
		if string(name) == known {
			return i
		}
	}
	return -1
}

func (shape *Shape) other(name []byte, seen *nameSet) error {
	for _, known := range shape.Names {
		if bytes.EqualFold(name, []byte(known)) {
			return errCase
		}
	}
	if shape.Strict {
		return errUnknown
	}
	if !seen.add(name) {
		return errDuplicate
	}
	return nil
}

// nameSet holds names; a few without a map.
type nameSet struct {
	few  [8][]byte
	n    int
	many map[string]struct{}
}

// add reports whether name is new.
func (set *nameSet) add(name []byte) bool {
	for _, have := range set.few[:set.n] {
		if bytes.Equal(have, name) {
			return false
		}
	}
	if set.n < len(set.few) {
		set.few[set.n] = name
		set.n++
		return true
	}
	if set.many == nil {
		set.many = make(map[string]struct{})
	}
	if _, have := set.many[string(name)]; have {
		return false
	}
	set.many[string(name)] = struct{}{}
	return true
}

func (s *scanner) end() error {
	s.space()
	if s.pos != len(s.data) {
		return ErrSyntax
	}
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// value passes over one value whose containers are nested at most depth deep
// and returns its bytes. It keeps its own stack of a bit per level, so that
// hostile nesting costs no goroutine stack.
func (s *scanner) value(depth int) ([]byte, error) {
	start := s.pos
	var open nesting
	for {
		// A value starts here.
		s.space()
		if s.pos == len(s.data) {
			return nil, ErrSyntax
		}
		var err error
		switch c := s.data[s.pos]; c {
		case '{', '[':
			s.pos++
			if open.depth == depth || open.depth == MaxNesting {
				return nil, ErrDepth
			}
			s.space()
			if s.take(counterpart(c)) {
				break
			}
			open.push(c == '{')
			if c == '{' {
				if err := s.name(); err != nil {
					return nil, err
				}
			}
			continue
		case '"':
			_, err = s.string()
		case 't':
			err = s.literal("true")
		case 'f':
			err = s.literal("false")
		case 'n':
			err = s.literal("null")
		default:
			err = s.number()
		}
		if err != nil {
			return nil, err
		}
		// A value ended here: so may the containers around it.
		for {
			if open.depth == 0 {
				return s.data[start:s.pos], nil
			}
			s.space()
			if s.take(',') {
				if open.object() {
					s.space()
					if err := s.name(); err != nil {
						return nil, err
					}
				}
				break
			}
			closing := byte(']')
			if open.object() {
				closing = '}'
			}
			if !s.take(closing) {
				return nil, ErrSyntax
			}
			open.depth--
		}
	}
}

// MaxNesting is the greatest depth that a caller may allow.
const MaxNesting = 512

// nesting remembers of each open container whether it is an object.
type nesting struct {
	bits  [MaxNesting / 64]uint64
	depth int
}

func (n *nesting) push(object bool) {
	word, bit := n.depth/64, uint64(1)<<(n.depth%64)
	if object {
		n.bits[word] |= bit
	} else {
		n.bits[word] &^= bit
	}
	n.depth++
}

func (n *nesting) object() bool {
	top := n.depth - 1
	return n.bits[top/64]&(uint64(1)<<(top%64)) != 0
}

// name passes over a member's name and the colon after it.
func (s *scanner) name() error {
	if _, err := s.string(); err != nil {
		return err
	}
	s.space()
	if !s.take(':') {
		return ErrSyntax
	}
	return nil
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return ErrSyntax
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) number() error {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return ErrSyntax
	}
	if s.take('.') && !s.digits() {
		return ErrSyntax
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return ErrSyntax
		}
	}
	return nil
}

// plainWords returns how many bytes of data a string may have as they are, in steps of eight: no
// quote, no backslash, no control character.
func plainWords(data []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(data)-n >= 8; n += 8 {
		word := binary.LittleEndian.Uint64(data[n:])
		quote, backslash := word^'"'*ones, word^'\\'*ones
		// The top bit of a byte is set where word has less than a space, and where the others
		// have 0. A byte above such a one may be taken for another one of its kind.
		found := (word-' '*ones)&^word | (quote-ones)&^quote | (backslash-ones)&^backslash
		if found&tops != 0 {
			break
		}
	}
	return n
}

// string passes over a string and returns it with its quotes.
func (s *scanner) string() ([]byte, error) {
	start := s.pos
	if !s.take('"') {
		return nil, ErrSyntax
	}
	for s.pos += plainWords(s.data[s.pos:]); s.pos < len(s.data); {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			return s.data[start:s.pos], nil
		case c < ' ':
			return nil, ErrSyntax
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
			s.pos += plainWords(s.data[s.pos:])
		}
	}
	return nil, ErrSyntax
}

func (s *scanner) escape() error {
	if s.pos == len(s.data) {
		return ErrSyntax
	}
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		if _, ok := hex4(s.data[s.pos:]); !ok {
			return ErrSyntax
		}
		s.pos += 4
		return nil
	}
	return ErrSyntax
}
