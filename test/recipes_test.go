package test

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// sseRecipes returns the blocks of a section of docs/sse.md.
func sseRecipes(t *testing.T, section, language string, count int) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/sse.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block[1])
	}
	if !found || len(blocks) != count {
		t.Fatalf("docs/sse.md has %d blocks of %s below %q, want %d", len(blocks), language, section, count)
	}
	return blocks
}

// recipe is a running recipe.
type recipe struct {
	t     *testing.T
	lines chan string // closed when it has ended
}

// startRecipe runs a program until the test ends.
func startRecipe(t *testing.T, env []string, name string, args ...string) *recipe {
	t.Helper()
	lab.NeedTool(t, name)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a shell ends with what it runs
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &recipe{t, make(chan string, 100)}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		for range r.lines { // until it has ended
		}
		_ = cmd.Wait()
	})
	return r
}

// next returns the next line, and false at the end.
func (r *recipe) next() (string, bool) {
	r.t.Helper()
	select {
	case line, more := <-r.lines:
		return line, more
	case <-time.After(deadline):
		r.t.Fatal("the recipe says nothing")
		return "", false
	}
}

// messageOffset matches the offset of a message in JSON and as Python prints it.
var messageOffset = regexp.MustCompile(`['"]offset['"]: ?(\d+), ?['"]timestamp['"]`)

// await takes lines until the offsets of messages are shown, each once and in order.
func (r *recipe) await(prefix string, first, last int) {
	r.t.Helper()
	for want := first; want <= last; {
		line, more := r.next()
		if !more {
			r.t.Fatalf("the recipe has ended before offset %d", want)
		}
		for _, found := range messageOffset.FindAllStringSubmatch(line, -1) {
			if got, err := strconv.Atoi(found[1]); err != nil || got != want || !strings.HasPrefix(line, prefix) {
				r.t.Fatalf("want offset %d behind %q, got %s", want, prefix, line)
			}
			want++
		}
	}
}

// trickyMessage has in its text what a careless reader of lines or of JSON stumbles over.
const trickyMessage = `{"text":"one\u0022 \n\n two` + "\u2028event: gap\u2028data: {}" + `","cursor":"none"}`

// The recipes of docs/sse.md show every message once, as they are written, when what is between
// them and the node cuts their connections.
func TestRecipesForEventsRunAsWritten(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, env []string, publish func(n int), cut func()){
		"curl":   runCurlRecipe,
		"fetch":  runFetchRecipe,
		"python": runPythonRecipe,
		"poll":   runPollRecipe,
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 1)
			f := startFront(t, url(c, 0))
			publish := func(n int) {
				t.Helper()
				for range n {
					publishText(t, c, "news", trickyMessage)
				}
			}
			run(t, []string{"BROKER=" + f.URL, "KEY=" + c.ServerKey}, publish, f.cut)
		})
	}
}

// front is a proxy before a node that passes answers on in chunks, as many do.
type front struct {
	*httptest.Server
	mu      sync.Mutex
	streams map[net.Conn]struct{}
}

type clientSocket struct{}

func startFront(t *testing.T, node string) *front {
	t.Helper()
	target, err := neturl.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{streams: make(map[net.Conn]struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0),
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if socket, ok := r.Context().Value(clientSocket{}).(net.Conn); ok && r.URL.Path == "/realtime/sse" {
			f.mu.Lock()
			f.streams[socket] = struct{}{}
			f.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	f.Config.ConnContext = func(ctx context.Context, socket net.Conn) context.Context {
		return context.WithValue(ctx, clientSocket{}, socket)
	}
	f.Start()
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// cut ends all connections, those of streams in the middle of an event and of a chunk.
func (f *front) cut() {
	f.mu.Lock()
	for socket := range f.streams {
		_, _ = io.WriteString(socket, "64\r\ndata: {") // where that fails it has ended
	}
	clear(f.streams)
	f.mu.Unlock()
	f.CloseClientConnections()
}

// publishText publishes a message byte by byte as it is.
func publishText(t *testing.T, c site, channel, message string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, deadline), http.MethodPost, url(c, 0)+"/realtime",
		strings.NewReader(`{"channel":"`+channel+`","message":`+message+`}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Api-Key", c.keys().server)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("publish answers %s", answer.Status)
	}
}

func runCurlRecipe(t *testing.T, env []string, publish func(n int), cut func()) {
	lab.NeedTool(t, "curl")
	recipes := sseRecipes(t, "curl", "sh", 2)
	publish(1)
	first := startRecipe(t, env, "sh", "-c", recipes[0])
	first.await("data: ", 1, 1)
	publish(1)
	first.await("data: ", 2, 2)
	line, _ := first.next()
	cursor, found := strings.CutPrefix(line, "id: ")
	if !found {
		t.Fatalf("no cursor follows the message, but %q", line)
	}
	cut()
	for more := true; more; {
		_, more = first.next()
	}
	publish(2)
	startRecipe(t, append(env, "CURSOR="+cursor), "sh", "-c", recipes[1]).await("data: ", 3, 4)
}

// goesOn checks a recipe that comes back by itself.
func goesOn(r *recipe, prefix string, publish func(n int), cut func()) {
	r.t.Helper()
	r.await(prefix, 1, 1)
	publish(1)
	r.await(prefix, 2, 2)
	cut()
	publish(2)
	r.await(prefix, 3, 4)
	publish(1)
	r.await(prefix, 5, 5)
}

func runFetchRecipe(t *testing.T, env []string, publish func(n int), cut func()) {
	page := filepath.Join(t.TempDir(), "recipe.mjs")
	const before = "const { BROKER: broker, KEY: key } = process.env\n" +
		"const handle = (kind, frame) => console.log(kind, JSON.stringify(frame))\n"
	writeRecipe(t, page, before+sseRecipes(t, "fetch, where headers can be set", "js", 1)[0])
	publish(1)
	goesOn(startRecipe(t, env, "node", page), "message {", publish, cut)
}

func runPythonRecipe(t *testing.T, env []string, publish func(n int), cut func()) {
	program := filepath.Join(t.TempDir(), "recipe.py")
	const before = "import os\nBROKER, KEY = os.environ['BROKER'], os.environ['KEY']\n"
	writeRecipe(t, program, before+sseRecipes(t, "Python with nothing but its standard library", "python", 1)[0])
	publish(1)
	goesOn(startRecipe(t, env, "python3", program), "message {", publish, cut)
}

func runPollRecipe(t *testing.T, env []string, publish func(n int), cut func()) {
	lab.NeedTool(t, "curl")
	publish(1)
	goesOn(startRecipe(t, env, "sh", "-c", sseRecipes(t, "A long poll", "sh", 1)[0]), "{", publish, cut)
}

func writeRecipe(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
