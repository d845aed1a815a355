package cluster

import (
	"errors"
	"fmt"
)

// teardown closes what was opened, in reverse.
type teardown []closing

type closing struct {
	what string
	run  func() error
}

func (t *teardown) push(what string, run func() error) { *t = append(*t, closing{what, run}) }

// run closes everything and joins the errors.
func (t *teardown) run() error {
	var all error
	for i := len(*t) - 1; i >= 0; i-- {
		if err := (*t)[i].run(); err != nil {
			all = errors.Join(all, fmt.Errorf("close %s: %w", (*t)[i].what, err))
		}
	}
	*t = nil
	return all
}
