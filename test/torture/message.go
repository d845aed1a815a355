package torture

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
)

// payload is the message that a tag names. Its bytes follow from the tag, so that
// one flipped bit shows.
func payload(tag string) json.RawMessage {
	h := fnv.New64a()
	h.Write([]byte(tag))
	sum := h.Sum64()
	text := fmt.Sprintf("%016x", sum)
	return json.RawMessage(fmt.Sprintf(`{"tag":%q,"text":"%s"}`, tag, strings.Repeat(text, 4+int(sum%24))))
}

// tagOf returns the tag of a message, or what it is instead of one.
func tagOf(data []byte) string {
	var m struct{ Tag string }
	if err := json.Unmarshal(data, &m); err == nil && m.Tag != "" && string(payload(m.Tag)) == string(data) {
		return m.Tag
	}
	return fmt.Sprintf("damaged: %.120s", data)
}

// textOf returns the data of a member, or what it is instead of a string.
func textOf(data []byte) string {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		return text
	}
	return fmt.Sprintf("damaged: %.120s", data)
}
