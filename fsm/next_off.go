//go:build !next

package fsm

// Level is the feature level of this program.
const Level = 1

// levels are those of commands, by op and version, that not all programs know.
var levels map[[2]byte]uint32

// next decodes what the tag "next" adds, for tests of an upgrade. Here nothing is.
func (d *decoder) next(op) any { return nil }
