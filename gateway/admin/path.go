package admin

import "strings"

// IDParameter stands in a pattern for an id.
const IDParameter = "{id}"

// matchPath reports whether a path matches a pattern, and returns the id in the path if the
// pattern has one.
func matchPath(pattern, path string) (id string, ok bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return "", false
	}
	for i := range want {
		switch {
		case want[i] == IDParameter && isID(have[i]):
			id = have[i]
		case want[i] != have[i] || want[i] == IDParameter:
			return "", false
		}
	}
	return id, true
}

const maxID = 128 // bytes

// isID reports whether text can be an id that a node made: no byte of it has a meaning in
// paths, escaped or not.
func isID(text string) bool {
	for i := range len(text) {
		b := text[i]
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && b != '_' && b != '-' {
			return false
		}
	}
	return text != "" && len(text) <= maxID
}
