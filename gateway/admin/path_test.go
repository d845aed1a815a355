package admin

import (
	"strings"
	"testing"
)

func FuzzMatchPath(f *testing.F) {
	f.Add("keys/../x")
	f.Add("keys/key_1")
	f.Fuzz(func(t *testing.T, path string) {
		for _, pattern := range []string{"/projects/{id}", "/keys/{id}/rotate", "/whoami"} {
			id, ok := matchPath(pattern, "/"+path)
			if again := strings.Replace(pattern, IDParameter, id, 1); ok && again != "/"+path {
				t.Fatalf("%q is taken for %q", path, again)
			}
			if strings.Contains(pattern, IDParameter) && ok &&
				strings.Trim(id, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				t.Fatalf("%q is an id", id)
			}
		}
	})
}
