package gateway

import (
	"unicode"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	maxChannelName = 255 // bytes
	maxMessageID   = 128 // bytes
)

// checkChannel returns a refusal unless name may be the name of a channel.
func checkChannel(name string) *refusal.Error {
	switch {
	case name == "":
		return refusal.New(refusal.InvalidChannel, "channel is missing")
	case len(name) > maxChannelName:
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
