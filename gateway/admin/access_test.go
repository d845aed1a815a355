package admin

import (
	"encoding/json"
	"testing"
)

func FuzzAccess(f *testing.F) {
	f.Add([]byte(`{"subscribe":["a*"],"publish":[{"pattern":"b","rate":1,"burst":2}]}`))
	f.Add([]byte(`{"connections":1,"channels":2,"publishRate":3.5}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if access, err := parseAccess(raw); err == nil {
			text, err := json.Marshal(showAccess(access))
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseAccess(text)
			if err != nil || len(again.Publish) != len(access.Publish) || access.MaySubscribe("x") != again.MaySubscribe("x") {
				t.Errorf("%s came back as %+v, %v", text, again, err)
			}
		}
		if quotas, err := parseQuotas(raw); err == nil {
			text, err := json.Marshal(quotasJSON(quotas))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := parseQuotas(text); err != nil || again != quotas {
				t.Errorf("%s came back as %+v, %v", text, again, err)
			}
		}
	})
}
