package protocol

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/auth"
)

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"type":"publish","channel":"c","message":{"x":[1]},"id":"i"}`,
		`{"type":"subscribe","channel":"c","fromOffset":12,"from":{"time":5},"epoch":"e"}`,
		`{"type":"subscribe","channel":"c","from":"all"}`, `{"type":"auth","apiKey":"k","timestamp":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return
		}
		req, refused := ParseRequest(data, 64)
		if refused != nil {
			if refused.Code.HTTPStatus() == 0 || refused.Reason == "" {
				t.Errorf("%q is refused with %+v", data, refused)
			}
			return
		}
		if req.Kind == "publish" && !json.Valid(req.Message) {
			t.Errorf("%q publishes %q", data, req.Message)
		}
		if req.Channel != "" && auth.CheckChannel(req.Channel) != nil {
			t.Errorf("%q names the channel %q", data, req.Channel)
		}
	})
}
