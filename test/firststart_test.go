package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

var servingAt = regexp.MustCompile(`"serving clients".*"addr":"([^"]+)"`)

var printedToken = regexp.MustCompile(`admin token +(\S+)`)

// TestKilledInItsFirstStart kills a node at any moment of its first start, and starts it
// again. Somebody must always get in: with what the first start printed, or with what
// the second one does.
func TestKilledInItsFirstStart(t *testing.T) {
	t.Parallel()
	begin := func(dir string) (*exec.Cmd, *os.File) {
		cmd := exec.Command(binary, "serve", "--data-dir", dir,
			"--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		log, err := os.Create(dir + ".log")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = write, log
		if err := errors.Join(cmd.Start(), write.Close(), log.Close()); err != nil {
			t.Fatal(err)
		}
		return cmd, read
	}
	again := 0
	for round := range rounds(t, 10, 100) {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		cmd, out := begin(dir)
		time.Sleep(time.Duration(rand.IntN(2500)) * time.Millisecond) //nolint:gosec // the moment is the test
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		var printed bytes.Buffer
		if _, err := printed.ReadFrom(out); err != nil {
			t.Fatal(err)
		}
		first := printedToken.FindStringSubmatch(printed.String())

		cmd, out = begin(dir)
		var token string
		if first != nil {
			token = first[1]
		} else {
			again++
			var second bytes.Buffer
			chunk := make([]byte, 4096)
			for found := []string(nil); found == nil; found = printedToken.FindStringSubmatch(second.String()) {
				if err := out.SetReadDeadline(time.Now().Add(deadline)); err != nil {
					t.Fatal(err)
				}
				n, err := out.Read(chunk)
				if err != nil {
					t.Fatalf("round %d: nobody has ever seen a token (%v)\n%s", round, err, readFile(t, dir+".log"))
				}
				second.Write(chunk[:n])
			}
			token = printedToken.FindStringSubmatch(second.String())[1]
		}
		eventually(t, deadline, func() error {
			serving := servingAt.FindStringSubmatch(readFile(t, dir+".log"))
			if serving == nil {
				return errors.New("it does not serve yet")
			}
			admin := &client.Admin{BaseURL: "http://" + serving[1], Token: token}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := admin.Status(ctx)
			return err
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d times the second start told the token", again)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
