package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/test/lab"
)

// privateWords were once names in this code, and none is a term of the field. Each entry
// says what to write instead.
var privateWords = map[string]string{
	"census":    "connections",
	"crowd":     "many clients",
	"disowned":  "removed from the cluster",
	"founding":  "forming a cluster",
	"greeting":  "handshake",
	"guest":     "connection",
	"hail":      "join a seed",
	"hall":      "limiting listener",
	"hasten":    "close now",
	"heir":      "replacement",
	"knock":     "proof before TLS",
	"mingle":    "keep gossip going",
	"newcomer":  "pending connection, or a node that joins",
	"parcel":    "batch",
	"rejudge":   "recheck access",
	"roster":    "peer health",
	"rumour":    "node metadata",
	"seats":     "message arena",
	"shelf":     "page cache",
	"standings": "read index",
	"stranger":  "unauthenticated client, or another cluster's node",
	"thawed":    "not flushing",
	"twin":      "duplicate node",
	"vigil":     "watch",
	"vitals":    "node stats",
}

// onDiskOrWire are private words that cannot change: a folder's name, and the label of a key.
var onDiskOrWire = regexp.MustCompile(`"founding[/"]|DIR/founding|\(secret, "knock"\)`)

var wordInName = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+`)

// TestNamesAreTermsOfTheField checks that neither names nor comments of the code, nor the
// documentation, use a private word.
func TestNamesAreTermsOfTheField(t *testing.T) {
	list, err := exec.Command("git", "-C", "..", "ls-files", "*.go", "*.md").Output()
	if err != nil {
		lab.Need(t, fmt.Sprintf("(git: %v) the list of files by git is missing", err))
	}
	for file := range strings.FieldsSeq(string(list)) {
		if file == "test/words_test.go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			continue // deleted, and not committed yet
		}
		for number, line := range strings.Split(string(text), "\n") {
			line = onDiskOrWire.ReplaceAllString(line, "")
			for _, word := range wordInName.FindAllString(line, -1) {
				word = strings.ToLower(word)
				instead, private := privateWords[word]
				if !private {
					word = strings.TrimSuffix(word, "s")
					instead, private = privateWords[word]
				}
				if private {
					t.Errorf("%s:%d: %q is a private word: say %q", file, number+1, word, instead)
				}
			}
		}
	}
}
