package node

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A node that has no descriptor left at its start waits for one, and ends at any other error.
func TestInitialiseWaitsForADescriptor(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		steps []error
		want  error
	}{
		{"descriptors come back", []error{
			&os.PathError{Op: "open", Path: "f", Err: unix.EMFILE}, &os.PathError{Op: "open", Path: "f", Err: unix.ENFILE}, nil,
		}, nil},
		{"another error", []error{broken}, broken},
	} {
		tried := 0
		err := await(t.Context(), func() (bool, error) {
			tried++
			return true, c.steps[tried-1]
		})
		if !errors.Is(err, c.want) || tried != len(c.steps) {
			t.Errorf("%s: got %v after %d tries, want %v after %d", c.name, err, tried, c.want, len(c.steps))
		}
	}
}
