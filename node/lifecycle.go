package node

import (
	"errors"
	"fmt"
)

// teardown is the stack of what was built, each step with the name of what it
// closes.
type teardown struct {
	steps []closeStep
}

type closeStep struct {
	name  string
	close func() error
}

func (t *teardown) push(name string, close func() error) {
	t.steps = append(t.steps, closeStep{name, close})
}

// run closes everything, last built first, and joins the errors.
func (t *teardown) run() error {
	var errs []error
	for i := len(t.steps) - 1; i >= 0; i-- {
		step := t.steps[i]
		if err := step.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", step.name, err))
		}
	}
	t.steps = nil
	return errors.Join(errs...)
}
