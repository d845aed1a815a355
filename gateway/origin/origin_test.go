package origin

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
)

func TestOriginPatterns(t *testing.T) {
	for text, want := range map[string]string{
		"*":                             "*",
		"https://app.example.com":       "https://app.example.com",
		"HTTPS://App.Example.COM":       "https://app.example.com",
		"https://app.example.com:443":   "https://app.example.com",
		"http://app.example.com:80":     "http://app.example.com",
		"https://app.example.com:8443":  "https://app.example.com:8443",
		"https://*.example.com":         "https://*.example.com",
		"http://localhost:*":            "http://localhost:*",
		"http://*.localhost:3000":       "http://*.localhost:3000",
		"https://bücher.example":        "https://xn--bcher-kva.example",
		"http://127.0.0.1:*":            "http://127.0.0.1:*",
		"http://[::1]:5173":             "http://[::1]:5173",
		"http://[0:0:0:0:0:0:0:1]":      "http://[::1]",
		"capacitor://localhost":         "capacitor://localhost",
		"chrome-extension://abcdefghij": "chrome-extension://abcdefghij",
		"https://my_app.example.com":    "https://my_app.example.com",
		"app://.":                       "app://.",
		"app://-":                       "app://-",
		"app://localhost":               "app://localhost",
		"ionic://localhost":             "ionic://localhost",
		"tauri://localhost":             "tauri://localhost",
		"https://tauri.localhost":       "https://tauri.localhost",
		"obsidian://app":                "obsidian://app",
		"moz-extension://8d4e1c6a-0b1f-4a54-9d8c-1f0f7a3c2b11": "moz-extension://8d4e1c6a-0b1f-4a54-9d8c-1f0f7a3c2b11",

		"file://":          "",
		"file:///":         "",
		"file://localhost": "",
		"https://.":        "",
		"app://..":         "",
		"app://*..":        "",
		"app://*.":         "",
		"app://":           "",
		"app://./":         "",
		"data:":            "",
		"about:blank":      "",

		"":                              "",
		"null":                          "",
		"app.example.com":               "",
		"https://":                      "",
		"https://app.example.com/":      "",
		"https://app.example.com/path":  "",
		"https://app.example.com?x":     "",
		"https://app.example.com:":      "",
		"https://app.example.com:0":     "",
		"https://app.example.com:0443":  "",
		"https://app.example.com:65536": "",
		"https://app.example.com:x":     "",
		"https://*":                     "",
		"https://*.com":                 "",
		"https://*.10.0.0.1":            "",
		"https://app.*.example.com":     "",
		"https://*.*.example.com":       "",
		"https://**.example.com":        "",
		"https://*example.com":          "",
		"https://app.example.com.":      "",
		"https://app..example.com":      "",
		"https://user@example.com":      "",
		"https://[::1":                  "",
		"https://::1":                   "",
		"https://[::1%25eth0]":          "",
		"https://a b.example.com":       "",
		"https://a%00.example.com":      "",
		"://example.com":                "",
		"1http://example.com":           "",
		"https//example.com":            "",
	} {
		got, err := Canonical(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseOriginPattern(%q) = %q, %v, want %q", text, got, err, want)
		}
		if again, err := Canonical(got); got != "" && (again != got || err != nil) {
			t.Errorf("pattern %q is stored as %q, which reads as %q, %v", text, got, again, err)
		}
	}
}

func TestOriginAllowed(t *testing.T) {
	const host = "broker.example.com"
	for _, c := range []struct {
		list   string // space-separated
		native bool
		origin string
		host   string
		want   bool
	}{
		// Exact.
		{"https://app.example.com", false, "https://app.example.com", host, true},
		{"https://app.example.com", false, "https://app.example.com:443", host, true},
		{"https://app.example.com", false, "HTTPS://APP.EXAMPLE.COM", host, true},
		{"https://app.example.com:443", false, "https://app.example.com", host, true},
		{"https://app.example.com", false, "http://app.example.com", host, false},
		{"https://app.example.com", false, "http://app.example.com:443", host, false},
		{"https://app.example.com", false, "https://app.example.com:8443", host, false},
		{"https://app.example.com:8443", false, "https://app.example.com:8443", host, true},
		{"https://app.example.com:8443", false, "https://app.example.com", host, false},
		{"https://app.example.com", false, "https://app.example.com.", host, false},
		{"https://app.example.com", false, "https://app.example.com/", host, false},
		{"https://app.example.com", false, "https://app.example.com.evil.com", host, false},
		{"https://app.example.com", false, "https://evil.com/https://app.example.com", host, false},
		{"https://app.example.com", false, "https://app.example.com@evil.com", host, false},
		{"https://app.example.com", false, "https://evil@app.example.com", host, false},
		{"https://app.example.com", false, "https://evilapp.example.com", host, false},
		{"https://app.example.com", false, "https://example.com", host, false},
		{"https://app.example.com", false, "https://x.app.example.com", host, false},
		{"https://app.example.com", false, "https://app.example.com%00.evil.com", host, false},
		{"https://app.example.com", false, "https://app.example.com\x00", host, false},
		{"https://app.example.com", false, " https://app.example.com", host, false},
		{"https://app.example.com", false, "https://app.example.com https://evil.com", host, false},
		{"https://app.example.com", false, "https://app.example.com,https://evil.com", host, false},
		{"https://app.example.com", false, "https://app\\.example.com", host, false},
		{"https://app.example.com", false, "null", host, false},
		{"https://app.example.com", false, "app.example.com", host, false},
		{"https://app.example.com", false, "https:app.example.com", host, false},
		{"https://app.example.com", false, "https://app.example.com:443:443", host, false},
		{"https://app.example.com", false, "https://" + strings.Repeat("a.", 300) + "example.com", host, false},
		{"https://a.example.com https://b.example.com", false, "https://b.example.com", host, true},
		// Unicode and punycode are the same name; look-alikes are not.
		{"https://bücher.example", false, "https://xn--bcher-kva.example", host, true},
		{"https://xn--bcher-kva.example", false, "https://BÜCHER.example", host, true},
		{"https://app.example.com", false, "https://аpp.example.com", host, false}, // Cyrillic а
		{"https://app.example.com", false, "https://app。example.com", host, true},  // ideographic full stop: IDNA maps it
		// Wildcards.
		{"https://*.example.com", false, "https://a.example.com", host, true},
		{"https://*.example.com", false, "https://a.b.c.example.com", host, true},
		{"https://*.example.com", false, "https://example.com", host, false},
		{"https://*.example.com", false, "https://.example.com", host, false},
		{"https://*.example.com", false, "https://evilexample.com", host, false},
		{"https://*.example.com", false, "https://evil-example.com", host, false},
		{"https://*.example.com", false, "https://a.example.com.evil.com", host, false},
		{"https://*.example.com", false, "http://a.example.com", host, false},
		{"https://*.example.com", false, "https://a.example.com:444", host, false},
		{"https://*.example.com:444", false, "https://a.example.com:444", host, true},
		{"https://*.example.com", false, "https://*.example.com", host, false},
		{"http://localhost:*", false, "http://localhost", host, true},
		{"http://localhost:*", false, "http://localhost:3000", host, true},
		{"http://localhost:*", false, "https://localhost:3000", host, false},
		{"http://localhost:*", false, "http://localhost.evil.com:3000", host, false},
		{"http://localhost:*", false, "http://127.0.0.1:3000", host, false},
		{"http://localhost:*", false, "http://a.localhost:3000", host, false},
		{"http://[::1]:*", false, "http://[0:0::1]:3000", host, true},
		{"http://[::1]:*", false, "http://::1:3000", host, false},
		{"http://127.0.0.1", false, "http://127.0.0.1", host, true},
		{"http://127.0.0.1", false, "http://127.1", host, false},
		{"http://127.0.0.1", false, "http://2130706433", host, false},
		{"http://127.0.0.1", false, "http://127.0.0.1.evil.com", host, false},
		{"https://*.example.com", false, "https://a.example.com%2eevil.com", host, false},
		{"https://*.example.com", false, "https://a.example.com#.evil.com", host, false},
		{"https://*.example.com", false, "https://evil.com?.example.com", host, false},
		{"https://*.example.com", false, "https://evil.com\\.example.com", host, false},
		{"https://*.bücher.example", false, "https://a.xn--bcher-kva.example", host, true},
		{"capacitor://localhost", false, "capacitor://localhost", host, true},
		{"capacitor://localhost", false, "http://localhost", host, false},
		{"https://app.example.com", false, "https://app.example.com:00443", host, false},
		{"app://.", false, "app://.", host, true},
		{"app://.", false, "app://-", host, false},
		{"app://.", false, "other://.", host, false},
		{"app://.", false, "https://.", host, false},
		{"tauri://localhost", false, "tauri://localhost", host, true},
		{"http://localhost:*", false, "tauri://localhost", host, false},
		{"https://app.example.com", false, "file://", host, false},
		// Everybody.
		{"*", false, "https://anything.example", host, true},
		{"*", false, "null", host, true},
		{"*", false, "file://", host, true},
		{"*", false, "https://broker.example.com", host, true},
		{"*", false, "", host, false}, // no browser: that is what allowNativeClients is for
		// Nobody.
		{"", false, "https://app.example.com", host, false},
		{"", false, "", host, false},
		{"", false, "null", host, false},
		// Native clients.
		{"", true, "", host, true},
		{"", true, "https://broker.example.com", host, true},
		{"", true, "http://broker.example.com", host, true},
		{"", true, "HTTPS://Broker.Example.com", host, true},
		{"", true, "http://broker.example.com:80", host, true},
		{"", true, "https://broker.example.com:443", host, true},
		{"", true, "ws://broker.example.com", host, true},
		{"", true, "https://broker.example.com:8080", host, false},
		{"", true, "http://broker.example.com:8080", host + ":8080", true},
		{"", true, "http://broker.example.com", host + ":8080", false},
		{"", true, "http://broker.example.com", host + ":80", true},
		{"", true, "https://broker.example.com", host + ":80", false},
		{"", true, "http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"", true, "http://[::1]:8080", "[::1]:8080", true},
		{"", true, "https://evil.com", host, false},
		{"", true, "null", host, false},
		{"", true, "https://x.broker.example.com", host, false},
		{"", true, "https://broker.example.com", "", false},
		{"https://app.example.com", true, "https://evil.com", host, false},
		{"https://broker.example.com", false, "https://broker.example.com", host, true}, // a page served beside the broker
	} {
		got := Judge(strings.Fields(c.list), c.native, c.origin, c.host)
		if got.Allowed != c.want || got.Reason == "" || got.Matched != "" && !strings.Contains(c.list, got.Matched) {
			t.Errorf("allowed %q, native %v: origin %q at %q is %+v, want %v", c.list, c.native, c.origin, c.host, got, c.want)
		}
	}
}

// A refusal tells an operator what was compared with what.
func TestOriginReasons(t *testing.T) {
	three := []string{"https://a.example", "https://b.example", "https://*.c.example"}
	for _, c := range []struct {
		rules        []string
		native       bool
		origin, want string
	}{
		{three, false, "https://x", "origin https://x is not in the project's 3 allowed origins"},
		{three, false, "null", "origin null is one that only * lets in"},
		{three, false, "file://", "origin file:// is one that only * lets in"},
		{nil, true, "null", "origin null is one that only * lets in"},
		{three[:1], false, "https://x", "origin https://x is not the project's allowed origin https://a.example"},
		{nil, false, "https://x", "origin https://x is refused: the project allows no origin"},
		{three, false, "https://x/y", "origin https://x/y is not a host name or address"},
		{three, false, "", "a client without an origin is a native client, which the project does not allow"},
		{three, true, "", "a client without an origin is a native client, which the project allows"},
		{
			three, true, "http://broker.example",
			"a client with the broker's own address as its origin is a native client, which the project allows",
		},
		{three, false, "https://x.c.example", "origin https://x.c.example is allowed by https://*.c.example"},
	} {
		if got := Judge(c.rules, c.native, c.origin, "broker.example"); got.Reason != c.want {
			t.Errorf("origin %q of %q: %q, want %q", c.origin, c.rules, got.Reason, c.want)
		}
	}
}

// No rule for a host lets in one that is neither this host nor below it, however
// the two are written.
func FuzzOrigin(f *testing.F) {
	for _, rule := range []string{
		"https://*.example.com", "https://example.com", "http://localhost:*", "http://[::1]:*", "https://bücher.example", "*",
		"app://.",
	} {
		for _, header := range []string{
			"https://a.example.com", "https://example.com", "https://a.example.com:443", "https://[::1]:80", "null",
			"https://a.example.com.evil.com", "https://ａ.example.com", "https://user@a.example.com",
			"file://", "http://localhost:3",
		} {
			f.Add(rule, header)
		}
	}
	f.Fuzz(func(t *testing.T, rule, header string) {
		o, err := parse(header)
		if err != nil {
			return
		}
		if strings.ContainsAny(o.host, "/?#@\\ \x00") || o.host != strings.ToLower(o.host) {
			t.Errorf("%q has the host %q", header, o.host)
		}
		own := pattern{origin: o}
		if again, err := parse(own.String()); err != nil || again != o {
			t.Errorf("%q reads as %+v, which is written %q and reads as %+v, %v", header, o, own, again, err)
		}
		p, err := parsePattern(rule)
		if err != nil || p.any || !Judge([]string{rule}, false, header, "").Allowed {
			return
		}
		switch {
		case o.scheme != p.scheme, !p.anyPort && o.port != p.port:
			t.Errorf("%q lets in %q: scheme or port differ", rule, header)
		case !p.subdomains && o.host != p.host, p.subdomains && !strings.HasSuffix(o.host, "."+p.host):
			t.Errorf("%q lets in %q: the host is %q", rule, header, o.host)
		}
		// What a browser takes the header for, as far as another parser can tell.
		if u, err := url.Parse(header); err == nil && isASCII(header) {
			if host := strings.ToLower(u.Hostname()); host != p.host && !strings.HasSuffix(host, "."+p.host) {
				t.Errorf("%q lets in %q, whose host is %q", rule, header, host)
			}
		}
	})
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
