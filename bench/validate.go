package bench

import (
	"cmp"
	"fmt"
)

// atLeast returns an error when a setting is below its least value.
func atLeast[N cmp.Ordered](setting string, value, least N) error {
	if value < least {
		return fmt.Errorf("%s: must be at least %v", setting, least)
	}
	return nil
}

// positive returns an error unless a setting is above zero.
func positive[N cmp.Ordered](setting string, value N) error {
	var zero N
	if value <= zero {
		return fmt.Errorf("%s: must be above 0", setting)
	}
	return nil
}
