package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// stderrOf runs a command line and returns its exit code and what it said.
func stderrOf(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	code = run(args)
	os.Stderr = stderr
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(text)
}

// speak answers whatever a client says first with a text, and returns the address.
func speak(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			// What comes before a request is no answer to it: net/http has other words for that.
			_, _ = conn.Read(make([]byte, 1))
			_, _ = io.WriteString(conn, text) // the client may have gone
		}
	}()
	return l.Addr().String()
}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Whatever is wrong with the address, a command says it: at once where trying again
// cannot help.
func TestCommandsSayWhyTheyCannotConnect(t *testing.T) {
	silence(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>a page</html>")
	}))
	status := func(code int, header ...string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			http.Error(w, "said the server", code)
		}))
	}
	missing, moved, busy := status(404), status(302, "Location", "https://elsewhere.example/"), status(503)
	starting := status(503, "Retry-After", "1")
	encrypted := httptest.NewUnstartedServer(http.NotFoundHandler())
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	for _, s := range []*httptest.Server{page, missing, moved, busy, starting, encrypted} {
		t.Cleanup(s.Close)
	}
	for _, c := range []struct {
		name, server string
		socket, api  string // what clients and calls of the admin API say
		passing      bool   // it is worth trying for some seconds
	}{
		{"closed port", "http://" + closedPort(t), "connection refused", "connection refused", false},
		{
			"no such path", missing.URL, "HTTP status 404 Not Found instead of a WebSocket: said the server",
			"HTTP status 404 Not Found: said the server", false,
		},
		{"a page", page.URL, "HTTP status 200 OK instead of a WebSocket", "what answers is no node", false},
		{
			"a redirect", moved.URL, "redirected to https://elsewhere.example/",
			"HTTP status 302 Found to https://elsewhere.example/", false,
		},
		{
			"a foreign certificate", encrypted.URL, "certificate signed by unknown authority",
			"certificate signed by unknown authority", false,
		},
		{
			"TLS where there is none", strings.Replace(missing.URL, "http:", "https:", 1),
			"where no TLS is spoken the address begins with http://", "server gave HTTP response to HTTPS client", false,
		},
		{
			"no TLS where there is", strings.Replace(encrypted.URL, "https:", "http:", 1),
			"where TLS is spoken the address begins with https://", "HTTP request to an HTTPS server", false,
		},
		{"another protocol", "http://" + speak(t, "SSH-2.0-OpenSSH_9.6\r\n"), "malformed", "malformed HTTP response", false},
		{"no such port", "http://127.0.0.1:99999", "invalid port", "invalid port", false},
		{
			"not ready", busy.URL, "it takes no clients: said the server",
			"HTTP status 503 Service Unavailable: said the server", false,
		},
		{
			"not ready yet", starting.URL, "HTTP status 503 Service Unavailable instead of a WebSocket: said the server",
			"HTTP status 503 Service Unavailable: said the server", true,
		},
		{"silence", "http://" + speak(t, ""), "not in time: there was no answer", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range []struct {
				args []string
				want string
			}{
				{[]string{"publish", "c", "1", "--key", "sk_x"}, c.socket},
				{[]string{"subscribe", "c", "--key", "sk_x"}, c.socket},
				{[]string{"project", "list", "--admin-token", "x"}, c.api},
			} {
				if command.want == "" {
					continue
				}
				began := time.Now()
				code, said := stderrOf(t, append(command.args, "--server", c.server)...)
				took := time.Since(began)
				t.Logf("%s after %v: %s", command.args[0], took.Round(time.Millisecond), said)
				if code != exitFailed || !strings.Contains(said, command.want) {
					t.Errorf("%s: exit code %d, %q, want %q", command.args[0], code, said, command.want)
				}
				if again := strings.Contains(said, "not in time"); again && !c.passing {
					t.Errorf("%s: it tried for %v what cannot succeed: %s", command.args[0], took, said)
				}
			}
		})
	}
}

// Every command that asks a node says so when nobody is there.
func TestEveryClientCommandSaysThatNobodyIsThere(t *testing.T) {
	silence(t)
	server := "http://" + closedPort(t)
	t.Setenv("APTLYD_ADMIN_TOKEN", "x")
	t.Setenv("APTLYD_KEY", "sk_x")
	more := map[string][]string{
		"aptlyd project update": {"--name", "x"},
		"aptlyd cluster set":    {"--max-bytes", "1"},
		"aptlyd key create":     {"--name", "x"},
		"aptlyd key import":     {"--name", "x"},
		"aptlyd channel forget": {"--prefix", "x"},
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Flags().Lookup("server") == nil {
			return
		}
		args := strings.Fields(cmd.CommandPath())[1:]
		for i, word := range strings.Fields(cmd.Use)[1:] {
			switch {
			case word == "FILE":
				args = append(args, filepath.Join(t.TempDir(), "file"))
			case word == strings.ToUpper(word) && !strings.HasPrefix(word, "["):
				args = append(args, fmt.Sprint(i)) // an id, a name and JSON
			}
		}
		args = append(append(args, "--server", server), more[cmd.CommandPath()]...)
		if code, said := stderrOf(t, args...); code != exitFailed || !strings.Contains(said, "connection refused") {
			t.Errorf("aptlyd %v: exit code %d: %s", args, code, said)
		}
	}
	walk(newRoot())
}

// Where no node was named and none is here, the error says how to name one.
func TestNoNodeHere(t *testing.T) {
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	here, there := remote{server: defaultServer}, remote{server: "http://node:8080"}
	if err := here.named(refused); !strings.Contains(err.Error(), "--server") {
		t.Error(err)
	}
	if err := there.named(refused); strings.Contains(err.Error(), "--server") {
		t.Error(err)
	}
}
