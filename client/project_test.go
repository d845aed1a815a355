package client

import (
	"encoding/json"
	"testing"
)

// A right that nobody spoke of is left out: null is none of the lists that a node takes.
func TestAccessLeavesOutWhatIsNil(t *testing.T) {
	for _, c := range []struct {
		access Access
		want   string
	}{
		{Access{}, `{}`},
		{Access{Subscribe: []string{}, Publish: []PublishGrant{}}, `{"subscribe":[],"publish":[]}`},
		{Access{Members: []string{"room:*"}}, `{"members":["room:*"]}`},
	} {
		if got, err := json.Marshal(c.access); err != nil || string(got) != c.want {
			t.Errorf("%+v is sent as %s, %v", c.access, got, err)
		}
	}
}
