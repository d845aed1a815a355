package auth

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// MaxChannelName bounds the name of a channel, in bytes.
const MaxChannelName = 255

// CheckChannel returns a refusal unless name may be the name of a channel.
func CheckChannel(name string) *refusal.Error {
	switch {
	case name == "":
		return refusal.New(refusal.InvalidChannel, "channel is missing")
	case len(name) > MaxChannelName:
		return refusal.New(refusal.InvalidChannel, "channel name is longer than 255 bytes")
	case !utf8.ValidString(name):
		return refusal.New(refusal.InvalidChannel, "channel name is not valid UTF-8")
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return refusal.New(refusal.InvalidChannel, "channel name has a control character")
		}
	}
	return nil
}

// CheckPattern returns an error unless a text may be a pattern of channel names.
func CheckPattern(pattern string) error {
	if refused := CheckChannel(pattern); refused != nil {
		return fmt.Errorf("pattern: %w", refused)
	}
	if star := strings.IndexByte(pattern, '*'); star >= 0 && star != len(pattern)-1 {
		return fmt.Errorf("pattern has a * that is not at its end")
	}
	return nil
}
