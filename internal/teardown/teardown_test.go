package teardown_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/aptlyd/aptlyd/internal/teardown"
)

func TestRunClosesBackwardsAndOnce(t *testing.T) {
	broken := errors.New("broken")
	var stack teardown.Stack
	var closed []string
	for _, name := range []string{"first", "second", "third"} {
		stack.Push(name, func() error {
			closed = append(closed, name)
			if name == "second" {
				return broken
			}
			return nil
		})
	}
	if err := stack.Run(); !errors.Is(err, broken) || err.Error() != "close second: broken" {
		t.Errorf("Run returned %v", err)
	}
	if err := stack.Run(); err != nil {
		t.Errorf("a second Run returned %v", err)
	}
	if !slices.Equal(closed, []string{"third", "second", "first"}) {
		t.Errorf("closed in the order %v", closed)
	}
}
