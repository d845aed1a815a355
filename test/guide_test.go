package test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

var shellBlock = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```")

// stubs stand in for programs that a test cannot run: they check what they are given, or do
// nothing.
var stubs = map[string]string{
	"make":         `grep -q "^$1:" "$SOURCE/Makefile" || { echo "no target $1" >&2; exit 1; }`,
	"brew":         `[ "$*" = "install go" ]`,
	"xcode-select": `[ "$*" = "--install" ]`,
	"journalctl":   `exit 0`,
	"python3":      `[ "$*" = "-m http.server 3000" ]`,
	"pbpaste":      `echo "$IMPORTED"`,
	// It runs what the image would, far enough to see that the image is built from this tree.
	"docker": `case $1 in
		build) test -f "$SOURCE/Dockerfile" ;;
		run) [ "$*" = "run -d --name aptlyd -p 8080:8080 -v aptlyd:/data aptlyd" ] ;;
		logs) [ "$2" = aptlyd ] ;;
		*) exit 1 ;;
		esac`,
	// The node of the test runs already, and listens elsewhere.
	"aptlyd": `case $1 in serve) exit 0 ;; subscribe) exec timeout --preserve-status -s INT 3 "$REAL" "$@" ;; esac
		exec "$REAL" "$@"`,
	"aptly-bench": `exec "$REALBENCH" --aptlyd "$REAL" "$@"`,
}

// foreignKey returns the 40 characters of a key that was made elsewhere.
func foreignKey() string { return rand.Text() + rand.Text()[:14] }

// TestGuidesRunAsWritten runs every command of the guides, in their order, on a node of its own.
func TestGuidesRunAsWritten(t *testing.T) {
	t.Parallel()
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, script := range stubs {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/bash\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bench := filepath.Join(t.TempDir(), "aptly-bench")
	if out, err := exec.Command("go", "build", "-o", bench, "../bench/aptly-bench").CombinedOutput(); err != nil {
		t.Fatalf("build aptly-bench: %v\n%s", err, out)
	}
	for _, guide := range []string{"quickstart", "security", "sizing", "troubleshooting", "migrating"} {
		t.Run(guide, func(t *testing.T) {
			text, err := os.ReadFile("../docs/" + guide + ".md")
			if err != nil {
				t.Fatal(err)
			}
			c := startCluster(t, 1)
			keys := defaultProject(t, c).Keys
			server := keys[slices.IndexFunc(keys, func(k client.Key) bool { return k.Kind == "server" })]
			place := t.TempDir()
			blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
			if len(blocks) == 0 {
				t.Fatalf("docs/%s.md has no command", guide)
			}
			for i, block := range blocks {
				script := strings.NewReplacer(
					"bin/aptly", "aptly",
					"localhost:8080", c.Addr(0),
					"APTLYD_ADMIN_TOKEN=adm_…", "APTLYD_ADMIN_TOKEN="+c.AdminToken,
					"admin revoke adm_first", "admin revoke \"$(aptlyd admin list --json | grep -o 'adm_[A-Za-z0-9]*' | head -1)\"",
					"import default pk_…", "import default pk_"+foreignKey(),
					"--duration 5s", "--duration 1s",
					"key_…", server.ID, "sk_…", c.ServerKey, "pk_…", c.PublicKey,
					"ss_…", "ss_"+strings.Repeat("A", 43),
				).Replace(block[1])
				cmd := exec.CommandContext(within(t, deadline), "bash", "-euo", "pipefail", "-c", script)
				cmd.Dir = place
				cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "SOURCE="+source, "REAL="+binary,
					"REALBENCH="+bench, "APTLYD_SERVER="+url(c, 0), "APTLYD_ADMIN_TOKEN="+c.AdminToken, "APTLYD_LISTEN="+c.Addr(0),
					"PK="+c.PublicKey, "SK="+c.ServerKey, "IMPORTED=sk_"+foreignKey())
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Run(); err != nil {
					t.Errorf("docs/%s.md, block %d: %v\n%s\n%s", guide, i+1, err, block[1], &out)
				}
			}
		})
	}
}

// TestTroubleshootingHasTheWordsOfTheProgram checks that what docs/troubleshooting.md quotes is said
// somewhere in the code.
func TestTroubleshootingHasTheWordsOfTheProgram(t *testing.T) {
	said := literals(t)
	for page, least := range map[string]int{"troubleshooting": 30, "operations": 1} {
		text, err := os.ReadFile("../docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		rows := regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(string(text), -1)
		checked := 0
		for _, row := range rows {
			if page == "operations" && !strings.Contains(row[1], "…") {
				continue
			}
			for _, quote := range quoted.FindAllStringSubmatch(row[1], -1) {
				if strings.HasPrefix(quote[1], "-") || !strings.Contains(quote[1], " ") {
					continue // a flag, a path or a name
				}
				for _, part := range variable.Split(quote[1], -1) {
					if part = strings.Trim(part, " :,;.()"); len(part) < 8 {
						continue
					}
					checked++
					if strings.HasPrefix(part, "/") || strings.HasPrefix(part, "aptlyd ") {
						continue // a path, or a command
					}
					if !strings.Contains(said, part) && !slices.Contains(ofOthers, part) {
						t.Errorf("docs/%s.md quotes %q, and nothing says it", page, part)
					}
				}
			}
		}
		if checked < least {
			t.Errorf("only %d quotes of docs/%s.md were checked", checked, page)
		}
	}
}

// variable matches the parts of a quote that differ from case to case.
var variable = regexp.MustCompile(`…|\bn[123](, n[123])*\b|\d+s|\d of \d|\b[NM]\b|\b\d+(\.\d+)?\b|…/|ADDRESS`)

// ofOthers are quotes of libraries, the Go runtime and the system.
var ofOthers = []string{
	"bind: address already in use", "certificate signed by unknown authority", "input/output error", "no space left",
	"unknown flag",
}

// literals returns all strings of the program, those that are added up as one.
func literals(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"node_modules", ".git", "test", "bench"}, entry.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.BinaryExpr:
				if text, ok := folded(node); ok {
					fmt.Fprintln(&all, text)
					return false
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
					fmt.Fprintln(&all, text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// folded returns the text of strings that are added up.
func folded(node ast.Expr) (string, bool) {
	switch node := node.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(node.Value)
		return text, err == nil && node.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := folded(node.X)
		if !ok || node.Op != token.ADD {
			return "", false
		}
		right, ok := folded(node.Y)
		return left + right, ok
	}
	return "", false
}
