// Package teardown closes what was opened, last opened first. It knows nothing of what
// that is.
package teardown

import (
	"errors"
	"fmt"
	"slices"
)

// Stack holds the steps that close what was opened. Its zero value is empty.
type Stack []step

type step struct {
	name  string
	close func() error
}

// Push adds a step, with the name of what it closes.
func (s *Stack) Push(name string, close func() error) { *s = append(*s, step{name, close}) }

// Run runs all steps, the last one first, joins their errors and empties the stack.
func (s *Stack) Run() error {
	var all error
	for _, step := range slices.Backward(*s) {
		if err := step.close(); err != nil {
			all = errors.Join(all, fmt.Errorf("close %s: %w", step.name, err))
		}
	}
	*s = nil
	return all
}
