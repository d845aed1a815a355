package main

import (
	"errors"
	"strings"
)

// secretList is a flag with one or several secrets, separated by commas or given in several
// flags.
type secretList struct{ list *[]string }

// Set adds secrets. Unlike other lists it does not interpret quotes, which a secret may
// contain.
func (s secretList) Set(text string) error {
	for secret := range strings.SplitSeq(text, ",") {
		if secret == "" {
			return errors.New("a secret is empty")
		}
		*s.list = append(*s.list, secret)
	}
	return nil
}

// String reveals no secret.
func (s secretList) String() string { return "" }

func (s secretList) Type() string { return "strings" }
