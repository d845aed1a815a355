//go:build !next

package fsm

// Level is the feature level of this program.
const Level = 2

// next decodes what the tag "next" adds, for tests of an upgrade. Here nothing is.
func (d *decoder) next(op) any { return nil }
