package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	codeBlock       = regexp.MustCompile("(?ms)^```.*?^```")
	markdownLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading         = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchors    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	walkStep        = regexp.MustCompile("(?m)^\\| .+ \\| (`[a-z/_]+\\.go`[^|]*) \\| (`[^|]*`) \\|$")
	receiverAndName = regexp.MustCompile(`^\(?(\*?\w+)\)?\.(\w+)$`)
	quoted          = regexp.MustCompile("`([^`]+)`")
)

// TestDocsLinksResolve checks that each relative link of the documentation leads to
// a file, and to a heading of it.
func TestDocsLinksResolve(t *testing.T) {
	anchors := func(text string) map[string]bool {
		known := make(map[string]bool)
		for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			name := notInAnchors.ReplaceAllString(strings.ToLower(match[1]), "")
			known[strings.ReplaceAll(name, " ", "-")] = true
		}
		return known
	}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range markdownLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(text), ""), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, ":") {
				continue // of the web
			}
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			there, err := os.Stat(file)
			if err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
				continue
			}
			if anchor == "" || there.IsDir() {
				continue
			}
			other, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !anchors(string(other))[anchor] {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocsWalksNameWhatExists checks the walks through the code: each function of a step is
// in one of the step's files, with the receiver that it names.
func TestDocsWalksNameWhatExists(t *testing.T) {
	checkWalks(t, "docs/design.md", "..", 25)
	checkWalks(t, "gateway/DESIGN.md", "../gateway", 15)
}

// checkWalks checks the walks of a page, whose files are below a folder.
func checkWalks(t *testing.T, page, folder string, atLeast int) {
	text, err := os.ReadFile("../" + page)
	if err != nil {
		t.Fatal(err)
	}
	steps := walkStep.FindAllStringSubmatch(string(text), -1)
	if len(steps) < atLeast {
		t.Fatalf("%s has %d steps of walks", page, len(steps))
	}
	for _, step := range steps {
		var code strings.Builder
		for _, file := range quoted.FindAllStringSubmatch(step[1], -1) {
			source, err := os.ReadFile(filepath.Join(folder, file[1]))
			if err != nil {
				t.Errorf("%s: %v", page, err)
			}
			code.Write(source)
		}
		for _, name := range quoted.FindAllStringSubmatch(step[2], -1) {
			function, receiver := name[1], ""
			if method := receiverAndName.FindStringSubmatch(name[1]); method != nil {
				receiver, function = `\(\w+ `+regexp.QuoteMeta(method[1])+`\) `, method[2]
			}
			if !regexp.MustCompile(`(?m)^func ` + receiver + function + `\(`).MatchString(code.String()) {
				t.Errorf("%s says that %s is in %s, and it is not", page, name[1], step[1])
			}
		}
	}
}
