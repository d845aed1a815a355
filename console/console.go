// Package console is the web console: static pages, embedded in the binary, that
// talk to the admin API of the node that serves them. It knows nothing of the
// node itself. assets/lib is uPlot 1.6.32, unchanged, with its licence.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed assets
var assets embed.FS

// policy lets the pages load and call nothing but this node.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the console. It expects the path below /console/, such as "/"
// or "/main.js".
func Handler() http.Handler {
	root, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	tags := etags(root)
	files := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = "index.html"
		}
		tag, found := tags[name]
		if !found {
			http.Error(w, "no such page", http.StatusNotFound)
			return
		}
		h.Set("ETag", tag)
		files.ServeHTTP(w, r)
	})
}

// etags names the content of each file, so that a browser fetches it again only
// when another version of the node serves another one: embedded files have no
// time of change.
func etags(root fs.FS) map[string]string {
	tags := make(map[string]string)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		sum := sha256.Sum256(content)
		tags[name] = `"` + hex.EncodeToString(sum[:12]) + `"`
		return err
	})
	if err != nil {
		panic(err) // the files are part of the binary
	}
	return tags
}
