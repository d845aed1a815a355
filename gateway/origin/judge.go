package origin

import (
	"errors"
	"fmt"
	"strings"
)

// Verdict says whether a client may come from where its Origin header says, and why.
type Verdict struct {
	Allowed bool
	Matched string // the rule that let it in; empty when none did
	Reason  string // in full, for an operator
}

// Judge decides by rules whether a client may come from where its Origin header says.
// header is empty when there was none; host is the Host header of the same request. A
// client without an Origin counts as a native app. So does one that names the broker
// itself, as some native clients do.
func Judge(rules []string, allowNative bool, header, host string) Verdict {
	o, malformed := parse(header)
	if header != "" {
		if rule, found := matchOrigin(rules, o, malformed); found {
			return Verdict{Allowed: true, Matched: rule, Reason: "origin " + header + " is allowed by " + rule}
		}
	}
	native := "a client without an origin"
	if header != "" {
		native = "a client with the broker's own address as its origin"
	}
	switch {
	case (header == "" || IsOwn(header, host)) && allowNative:
		return Verdict{Allowed: true, Reason: native + " is a native client, which the project allows"}
	case header == "":
		return Verdict{Reason: native + " is a native client, which the project does not allow"}
	case header == "null", errors.Is(malformed, errFile):
		return Verdict{Reason: "origin " + header + " is one that only * lets in"}
	case malformed != nil:
		return Verdict{Reason: "origin " + header + " is " + malformed.Error()}
	case sameHost(o, host):
		return Verdict{Reason: fmt.Sprintf("origin %s is not the broker's own address, which is %s by the request's Host: "+
			"a proxy between must keep the Host header with its port, "+
			"or send X-Forwarded-Host and be in --trusted-proxies", header, host)}
	case len(rules) == 0:
		return Verdict{Reason: "origin " + header + " is refused: the project allows no origin"}
	case len(rules) == 1:
		return Verdict{Reason: "origin " + header + " is not the project's allowed origin " + rules[0]}
	}
	return Verdict{Reason: fmt.Sprintf("origin %s is not in the project's %d allowed origins", header, len(rules))}
}

// matchOrigin returns the first rule that lets the origin in. Only "*" lets in an origin
// that could not be parsed.
func matchOrigin(rules []string, o origin, malformed error) (rule string, found bool) {
	for _, text := range rules {
		if text == anyOrigin {
			return text, true
		}
		if malformed != nil {
			continue
		}
		// A stored rule was parsed once already. One that cannot be parsed now matches nothing.
		if p, err := parsePattern(text); err == nil && p.matches(o) {
			return text, true
		}
	}
	return "", false
}

// IsOwn reports whether an Origin names the very host and port that the request was sent
// to. A Host without a port means the default port of the origin's scheme, since the
// broker cannot know that scheme behind a proxy. Some clients send the whole URL that they
// connect to, which counts too.
func IsOwn(header, host string) bool {
	if scheme, rest, found := strings.Cut(header, "://"); found {
		authority, _, _ := strings.Cut(rest, "/")
		header = scheme + "://" + authority
	}
	o, err := parse(header)
	if err != nil {
		return false
	}
	own, err := parse(o.scheme + "://" + host)
	return err == nil && own == o
}

// sameHost reports whether an origin has the host of a request, at another port.
func sameHost(o origin, host string) bool {
	own, err := parse(o.scheme + "://" + host)
	return err == nil && own.host == o.host && own.port != o.port
}
