package client

import (
	"bytes"
	"encoding/json"
)

// scanFrame reads the frames that come by the thousand, messages and receipts,
// in their usual spelling and several times faster than reflection does. ok is
// false for everything else, which says nothing about whether it is a frame:
// white space, escapes, text that is not ASCII, unknown names and all other
// types of value are left to encoding/json.
func scanFrame(text []byte) (f frame, ok bool) {
	s := scanner{rest: text}
	if !s.skip('{') {
		return frame{}, false
	}
	for {
		name, ok := s.plain()
		if !ok || !s.skip(':') || !s.field(&f, name) {
			return frame{}, false
		}
		if s.skip('}') {
			break
		}
		if !s.skip(',') {
			return frame{}, false
		}
	}
	return f, len(s.rest) == 0 && f.Type != ""
}

// scanner walks through JSON text.
type scanner struct{ rest []byte }

func (s *scanner) skip(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// field reads the value of a field into f.
func (s *scanner) field(f *frame, name []byte) bool {
	var value []byte
	var ok bool
	switch string(name) {
	case "type":
		if value, ok = s.plain(); ok {
			f.Type = frameType(value)
		}
	case "channel":
		if value, ok = s.plain(); ok {
			f.Channel = string(value)
		}
	case "id":
		if value, ok = s.plain(); ok {
			f.ID = string(value)
		}
	case "data":
		if value, ok = s.value(); ok {
			f.Data = bytes.Clone(value)
		}
	case "offset":
		f.Offset, ok = s.number()
	case "timestamp":
		var stamp uint64
		stamp, ok = s.number()
		f.Timestamp = int64(stamp)
	case "replay":
		f.Replay, ok = s.boolean()
	case "duplicate":
		f.Duplicate, ok = s.boolean()
	}
	return ok
}

// frameType returns the usual types without allocating.
func frameType(name []byte) string {
	switch string(name) {
	case "message":
		return "message"
	case "published":
		return "published"
	case "heartbeat":
		return "heartbeat"
	}
	return string(name)
}

// plain reads a string of ASCII without escapes.
func (s *scanner) plain() ([]byte, bool) {
	if !s.skip('"') {
		return nil, false
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			return text, true
		case c < ' ' || c == '\\' || c > '~':
			return nil, false
		}
	}
	return nil, false
}

// number reads a whole number of at most 18 digits.
func (s *scanner) number() (n uint64, ok bool) {
	i := 0
	for i < len(s.rest) && '0' <= s.rest[i] && s.rest[i] <= '9' {
		n = n*10 + uint64(s.rest[i]-'0')
		i++
	}
	if i == 0 || i > 18 || i > 1 && s.rest[0] == '0' {
		return 0, false
	}
	s.rest = s.rest[i:]
	return n, true
}

func (s *scanner) boolean() (value, ok bool) {
	if rest, found := bytes.CutPrefix(s.rest, []byte("true")); found {
		s.rest = rest
		return true, true
	}
	if rest, found := bytes.CutPrefix(s.rest, []byte("false")); found {
		s.rest = rest
		return false, true
	}
	return false, false
}

// value reads a string without escapes, an object or an array.
func (s *scanner) value() ([]byte, bool) {
	if len(s.rest) == 0 {
		return nil, false
	}
	start := s.rest
	switch start[0] {
	case '"':
		if _, ok := s.plain(); !ok {
			return nil, false
		}
		return start[:len(start)-len(s.rest)], true
	case '{', '[':
		end := closing(start)
		if end == 0 || !json.Valid(start[:end]) {
			return nil, false
		}
		s.rest = start[end:]
		return start[:end], true
	}
	return nil, false
}

// closing returns the length of the object or array that text begins with, or 0.
func closing(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			}
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
