package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A health check finds the node where the node's own settings put it.
func TestHealthcheckReadsTheSettingsOfTheNode(t *testing.T) {
	silence(t)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	plain, encrypted := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	defer plain.Close()
	defer encrypted.Close()
	at := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want int
	}{
		"another port": {map[string]string{"APTLYD_LISTEN": at(plain)}, nil, exitDone},
		"TLS": {map[string]string{
			"APTLYD_LISTEN": at(encrypted), "APTLYD_TLS_CERT": "cert.pem",
			"APTLYD_TLS_KEY": "key.pem",
		}, nil, exitDone},
		"TLS that is not set": {map[string]string{"APTLYD_LISTEN": at(encrypted)}, nil, exitFailed},
		"a file": {map[string]string{"APTLYD_CONFIG": writeFile(t,
			"listen: "+at(encrypted)+"\ntls-cert: cert.pem\nnode-name: a\n")}, nil, exitDone},
		"a file by flag": {nil, []string{"--config", writeFile(t, "listen: "+at(plain)+"\n")}, exitDone},
		"flags": {
			map[string]string{"APTLYD_LISTEN": "127.0.0.1:1"},
			[]string{"--listen", at(encrypted), "--tls-cert", "cert.pem"},
			exitDone,
		},
		"a server wins": {
			map[string]string{"APTLYD_LISTEN": "127.0.0.1:1"},
			[]string{"--server", "http://" + at(plain)},
			exitDone,
		},
		"a server by variable": {
			map[string]string{"APTLYD_LISTEN": "127.0.0.1:1", "APTLYD_SERVER": "http://" + at(plain)},
			nil, exitDone,
		},
		"nobody":                {map[string]string{"APTLYD_LISTEN": "127.0.0.1:1"}, nil, exitFailed},
		"no address":            {map[string]string{"APTLYD_LISTEN": "8080"}, nil, exitMisuse},
		"a file with a mistake": {map[string]string{"APTLYD_CONFIG": writeFile(t, "lisen: x\n")}, nil, exitMisuse},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			if got := run(append([]string{"healthcheck"}, c.args...)); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

// In a container the node's command line is that of the first process.
func TestHealthcheckReadsTheCommandLineOfTheNode(t *testing.T) {
	t.Setenv("APTLYD_LISTEN", ":1")
	settings, err := serveSettings(nil,
		[]string{"--node-name=a", "--listen", ":9443", "--tls-cert=c.pem", "--from-a-later-version", "x"})
	if err != nil || settings["listen"] != ":9443" || settings["tls-cert"] != "c.pem" {
		t.Errorf("got %v, %v", settings, err)
	}
	settings, err = serveSettings(map[string]string{"listen": ":2"}, []string{"--listen", ":9443"})
	if err != nil || settings["listen"] != ":2" {
		t.Errorf("a flag of its own: %v, %v", settings, err)
	}
	for line, want := range map[string]string{
		"/aptlyd serve --listen :1":                         "--listen :1",
		"/sbin/docker-init -- /aptlyd serve --listen :1":    "--listen :1",
		"/usr/bin/tini -- /usr/bin/aptlyd serve":            "",
		"/sbin/init":                                        "",
		"aptlyd healthcheck --listen :1":                    "",
		"sh -c sleep 1; /aptlyd serve --listen :1; echo ok": "",
		"aptlyd": "",
	} {
		words := strings.Split(line, " ")
		if strings.HasPrefix(line, "sh -c ") {
			words = strings.SplitN(line, " ", 3)
		}
		if got := strings.Join(serveArguments(words), " "); got != want {
			t.Errorf("%s: got %q", line, got)
		}
	}
	for listen, want := range map[string][]string{
		":9443":          {"https://127.0.0.1:9443", "https://[::1]:9443"},
		"0.0.0.0:80":     {"https://127.0.0.1:80", "https://[::1]:80"},
		"[::]:80":        {"https://127.0.0.1:80", "https://[::1]:80"},
		"10.0.0.1:8080":  {"https://10.0.0.1:8080"},
		"[fd00::1]:8080": {"https://[fd00::1]:8080"},
		"localhost:8080": {"https://localhost:8080"},
	} {
		if got, err := localServers(listen, true); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v", listen, got, err)
		}
	}
}
